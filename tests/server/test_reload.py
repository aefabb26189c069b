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
from typing import Any

import aiohttp
import pytest

from engines.engine import Engine
from engines.options import EngineOptions
from engines.storage.bundle import DEMO, open_bundle
from export.bundling.staging import staged
from server.config.flags import parse_settings
from server.config.model_sources import source_of
from server.config.settings import Settings
from server.lifecycle import serve
from server.serving.deployment import load_bundle
from server.serving.fingerprint import fingerprint
from tests.live_server import LiveServer, run_module, serving
from tests.server.conftest import Answer
from tests.server.demo_bundles import demo_copy
from tests.server.peers import clients, encoded, metrics, send, small_clips

BODY = encoded(small_clips(1)[0])


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    demo_copy(tmp_path / "served", "first")
    return tmp_path / "served"


@contextlib.asynccontextmanager
async def load(session: aiohttp.ClientSession, answers: list[Answer]) -> AsyncIterator[None]:
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
        async with clients(server) as session, load(session, answers):
            await asyncio.to_thread(demo_copy, bundle, "second")
            server.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(server.wait_for, "engine swapped")
            await _assert_answered_by(session, "second")
            await asyncio.to_thread(demo_copy, bundle, "broken", b"no network at all")
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
            await asyncio.to_thread(demo_copy, bundle, "second")
            # A link without a target, as editors leave them, hides no change.
            (bundle / "elsewhere").symlink_to(bundle / "gone")
            await asyncio.to_thread(server.wait_for, "engine swapped")
            await _assert_answered_by(session, "second")


async def test_bundle_of_another_digest_is_never_served(bundle: Path, tmp_path: Path) -> None:
    demo_copy(tmp_path / "second", "second")
    digests = [open_bundle(path).manifest.content_sha256() for path in (bundle, tmp_path / "second")]
    with serving(bundle, "--bundle-poll-s", "1", "--bundle-sha256", ",".join(digests)) as server:
        async with clients(server) as session:
            await _assert_answered_by(session, "first")
            # Of the same name, but written at another time or with other labels.
            await asyncio.to_thread(demo_copy, bundle, "third")
            refused = await asyncio.to_thread(server.wait_for, "reload failed, the old engine stays")
            assert open_bundle(bundle).manifest.content_sha256() in refused["error"]
            server.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(server.wait_for, "reload failed, the old engine stays", 2)
            await _assert_answered_by(session, "first")
            await asyncio.to_thread(_replace, bundle, tmp_path / "second")
            await asyncio.to_thread(server.wait_for, "engine swapped")
            await _assert_answered_by(session, "second")


def test_start_with_a_bundle_of_another_digest_is_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bundle / "model.onnx").write_bytes(b"read by nobody")
    monkeypatch.setenv("VJEPA_BUNDLE_SHA256", "0" * 64)
    refused = run_module("server", str(bundle), "--port", "0", "--log-format", "text")
    assert refused.returncode == 2
    assert "which --bundle-sha256 does not name" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("digest", ["", "abc", "0" * 64 + ",1"])
def test_digests_that_would_pin_nothing_are_refused(
    digest: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VJEPA_BUNDLE_SHA256", digest)
    with pytest.raises(SystemExit) as refused:
        parse_settings([str(DEMO)])
    assert refused.value.code == 2
    assert "accepted: 64 hexadecimal digits" in capsys.readouterr().err


def _replace(bundle: Path, other: Path) -> None:
    with staged(bundle) as directory:
        shutil.copytree(other, directory, dirs_exist_ok=True)


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
            demo_copy(bundle, "second")
        return engine

    logging.getLogger("server").addHandler(watcher)
    serving_task = asyncio.create_task(serve(Settings((source_of(bundle),), port=0, bundle_poll_s=1), load))
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


async def test_reload_tells_how_many_answers_change(bundle: Path) -> None:
    with serving(bundle, "--bundle-poll-s", "0") as server:
        async with clients(server) as session:
            sent = [await send(session, encoded(frames)) for frames in small_clips(3)]
            same = await _reloaded(server, session, bundle, "same")
            moved = await _reloaded(server, session, bundle, "moved", labels_moved=1)
        assert await asyncio.to_thread(server.stop) == 0
    assert {answer.status for answer in sent} == {200}
    assert 1 <= same["clips"] == moved["clips"] <= 3
    assert (same["top1_changed"], same["largest_probability_difference"]) == (0, 0)
    assert moved["top1_changed"] == moved["clips"]
    assert moved["largest_probability_difference"] > 0.1


async def test_reload_that_changes_too_many_answers_is_refused(bundle: Path) -> None:
    with serving(bundle, "--bundle-poll-s", "0", "--swap-max-disagreement", "0.5") as server:
        async with clients(server) as session:
            assert (await send(session, BODY)).status == 200
            await _reloaded(server, session, bundle, "moved", labels_moved=1)
            refused = await asyncio.to_thread(server.wait_for, "reload failed, the old engine stays")
            await _assert_answered_by(session, "first")
            counted = await metrics(session)
        assert await asyncio.to_thread(server.stop) == 0
    assert "another most probable action" in refused["error"]
    assert counted['vjepa_reloads_total{outcome="kept"}'] == 1
    assert [series for series in counted if series.startswith("vjepa_engine_info") and 'bundle="first"' in series]


async def test_no_clip_is_kept_when_none_is_wanted(bundle: Path) -> None:
    with serving(bundle, "--bundle-poll-s", "0", "--swap-clips", "0") as server:
        async with clients(server) as session:
            assert (await send(session, BODY)).status == 200
            assert (await _reloaded(server, session, bundle, "same"))["clips"] == 0


async def _reloaded(
    server: LiveServer, session: aiohttp.ClientSession, bundle: Path, name: str, labels_moved: int = 0
) -> dict[str, Any]:
    """Replace the bundle, reload it, and return what the log says of the comparison."""
    compared = len(server.entries("answers of both engines compared"))
    await asyncio.to_thread(demo_copy, bundle, name, None, labels_moved)
    server.process.send_signal(signal.SIGHUP)
    entry = await asyncio.to_thread(server.wait_for, "answers of both engines compared", compared + 1)
    counted = await metrics(session)
    assert counted["vjepa_swap_clips"] == entry["clips"]
    assert counted["vjepa_swap_answers_changed"] == entry["top1_changed"]
    return entry


def test_hidden_files_beside_a_bundle_do_not_reload_it(tmp_path: Path) -> None:
    """Runtimes keep compiled kernels there, and would otherwise cause a reload at each start."""
    (tmp_path / "engine.json").write_text("{}")
    served = fingerprint(tmp_path)
    (tmp_path / ".kernels-1.7.1-RTX").write_bytes(b"kernels")
    assert served == fingerprint(tmp_path) != ()
    (tmp_path / "engine.json").write_text("{ }")
    assert fingerprint(tmp_path) != served
