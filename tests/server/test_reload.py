"""Reloads under load: no request is lost, and a bad bundle is not put in service."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from engines import manifest as manifests
from engines.storage.bundle import DEMO
from export.bundling.staging import staged, write_manifest
from server.serving.bundle_watch import fingerprint
from tests.live_server import serving
from tests.server.conftest import Answer
from tests.server.peers import clients, encoded, metrics, send, small_clips

BODY = encoded(small_clips(1)[0])


def _write(bundle: Path, name: str, network: bytes | None = None) -> None:
    """Replace ``bundle`` as the export does, by the demo under another name or with another network."""
    manifest = manifests.decode((DEMO / manifests.FILE_NAME).read_bytes())
    source = msgspec.structs.replace(manifest.source, model=name)
    with staged(bundle) as directory:
        shutil.copy(DEMO / "model.onnx", directory)
        if network is not None:
            (directory / "model.onnx").write_bytes(network)
        write_manifest(directory, msgspec.structs.replace(manifest, name=name, source=source))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    _write(tmp_path / "served", "first")
    return tmp_path / "served"


@contextlib.asynccontextmanager
async def _load(session: aiohttp.ClientSession, answers: list[Answer]) -> AsyncIterator[None]:
    """Four clients, each of which sends one request after the other while the block runs."""
    ended = False

    async def ask() -> None:
        while not ended:
            answers.append(await send(session, BODY))

    tasks = [asyncio.create_task(ask()) for _ in range(4)]
    try:
        yield
    finally:
        ended = True
        await asyncio.gather(*tasks)


async def test_reload_under_load_loses_no_request_and_refuses_a_bad_bundle(bundle: Path) -> None:
    answers: list[Answer] = []
    with serving(bundle, "--bundle-poll-s", "0") as server:
        async with clients(server) as session, _load(session, answers):
            await asyncio.to_thread(_write, bundle, "second")
            server.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(server.wait_for, "engine swapped")
            await _assert_answered_by(session, "second")
            await asyncio.to_thread(_write, bundle, "broken", b"no network at all")
            server.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(server.wait_for, "reload failed, the old engine stays")
            await _assert_answered_by(session, "second")
            counted = await metrics(session)
        assert await asyncio.to_thread(server.stop) == 0
    assert {answer.status for answer in answers} == {200}
    assert {answer.body["model"] for answer in answers} == {"first", "second"}
    assert counted['vjepa_reloads_total{outcome="swapped"}'] == 1
    assert counted['vjepa_reloads_total{outcome="kept"}'] == 1
    assert not [entry for entry in server.log if entry["level"] == "ERROR" and "reload" not in entry["event"]]


async def test_changed_bundle_is_reloaded_without_a_signal(bundle: Path) -> None:
    with serving(bundle, "--bundle-poll-s", "1") as server:
        async with clients(server) as session:
            await _assert_answered_by(session, "first")
            await asyncio.to_thread(_write, bundle, "second")
            await asyncio.to_thread(server.wait_for, "engine swapped")
            await _assert_answered_by(session, "second")


async def _assert_answered_by(session: aiohttp.ClientSession, model: str) -> None:
    assert (await send(session, BODY)).body["model"] == model
    async with session.get("/") as response:
        assert (await response.json())["model"]["name"] == model


def test_hidden_files_beside_a_bundle_do_not_reload_it(tmp_path: Path) -> None:
    """Runtimes keep compiled kernels there, and would otherwise cause a reload at each start."""
    (tmp_path / "engine.json").write_text("{}")
    served = fingerprint(tmp_path)
    (tmp_path / ".kernels-1.7.1-RTX").write_bytes(b"kernels")
    assert served == fingerprint(tmp_path) != ()
    (tmp_path / "engine.json").write_text("{ }")
    assert fingerprint(tmp_path) != served
