"""Reloads under load: no request is lost, and a bad bundle is not put in service."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest

from engines import manifest as manifests
from engines.engine import Engine
from engines.options import EngineOptions
from engines.storage.bundle import DEMO
from export.bundling.staging import staged, write_manifest
from server.config.settings import Settings
from server.lifecycle import serve
from server.serving.bundle_watch import fingerprint
from server.serving.deployment import load_bundle
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
            # A link without a target, as editors leave them, hides no change.
            (bundle / "elsewhere").symlink_to(bundle / "gone")
            await asyncio.to_thread(server.wait_for, "engine swapped")
            await _assert_answered_by(session, "second")


def test_links_without_a_target_hide_no_change_of_the_other_files(bundle: Path) -> None:
    link = bundle.parent / "link"
    link.symlink_to(bundle)
    states = [fingerprint(link)]
    (bundle / "elsewhere").symlink_to(bundle / "gone")
    states.append(fingerprint(link))
    (bundle / "gone").write_text("back")
    states.append(fingerprint(link))
    assert all(states)
    assert len(set(states)) == 3
    bundle.rename(bundle.parent / "moved")
    assert fingerprint(link) == ()
    (bundle.parent / "moved").rename(bundle)
    assert fingerprint(link) == states[-1]


async def test_bundle_that_changes_while_it_is_loaded_is_loaded_again(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "server")
    swapped = asyncio.Event()
    watcher = _EventOnLog("engine swapped", swapped)
    names: list[str] = []

    def load(path: Path, options: EngineOptions) -> Engine:
        engine = load_bundle(path, options)
        names.append(engine.manifest.name)
        if len(names) == 1:
            _write(bundle, "second")
        return engine

    logging.getLogger("server").addHandler(watcher)
    serving_task = asyncio.create_task(serve(Settings(bundle, port=0, bundle_poll_s=1), load))
    try:
        await asyncio.wait_for(swapped.wait(), 60)
        os.kill(os.getpid(), signal.SIGTERM)
        await serving_task
    finally:
        serving_task.cancel()
        logging.getLogger("server").removeHandler(watcher)
    assert names == ["first", "second"]


class _EventOnLog(logging.Handler):
    """Sets ``seen`` when ``message`` is logged by the event loop's thread."""

    def __init__(self, message: str, seen: asyncio.Event) -> None:
        super().__init__()
        self._message = message
        self._seen = seen

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == self._message:
            self._seen.set()


async def _assert_answered_by(session: aiohttp.ClientSession, model: str) -> None:
    assert (await send(session, BODY)).body["model"] == model
    async with session.get("/") as response:
        assert (await response.json())["model"]["name"] == model
