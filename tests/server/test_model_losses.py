"""A model that cannot be served, or that loses its engine, beside others."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from tests.faulty_server import Fault, marked
from tests.live_server import LiveServer, run_module
from tests.server.demo_bundles import demo_copy
from tests.server.peers import clients, faulty, metrics, send, small_clips, statuses, tell
from tests.server.requests import octet_request

CLIPS = small_clips(1)


def test_without_any_bundle_that_can_be_served_the_start_ends_with_one_line(tmp_path: Path) -> None:
    for name in ("one", "two"):
        demo_copy(tmp_path / name, name)
        (tmp_path / name / "model.onnx").write_bytes(b"truncated")
    ended = run_module("server", str(tmp_path), "--port", "0", "--log-format", "text")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert [line.count("model not served") for line in ended.stderr.splitlines()].count(1) == 1
    assert "truncated" in ended.stderr.splitlines()[-1]


async def test_a_lost_engine_takes_its_own_model_out_of_service(tmp_path: Path) -> None:
    async with _faulty_pair(tmp_path) as (server, session):
        lost = await send(session, octet_request(marked(CLIPS[0], fault=Fault.LOSE), model="second"))
        assert lost.status == 503
        told = server.wait_for("a model is lost, the others go on")
        assert (told["model"], "illegal memory access" in told["error"]) == ("second", True)
        assert await statuses(session, "/health", "/health/ready?model=first") == [200, 200]
        assert (await send(session, octet_request(CLIPS[0], model="first"))).status == 200
        refused = await send(session, octet_request(CLIPS[0], model="second"))
        assert (refused.status, refused.body["detail"]) == (503, "the model second is unavailable")
        counted = await metrics(session, sums=False)
        assert [counted[f'vjepa_model_ready{{model="{name}"}}'] for name in ("first", "second")] == [1, 0]
        # SIGHUP tries it again.
        server.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(server.wait_for, "model loaded")
        assert (await send(session, octet_request(CLIPS[0], model="second"))).status == 200
        assert await asyncio.to_thread(server.stop) == 0


async def test_a_lost_device_takes_all_its_models_with_it_and_ends_the_process(tmp_path: Path) -> None:
    async with _faulty_pair(tmp_path) as (server, session):
        await tell(server, "lose device")
        # The other model has no request: it is tried at once, because its device may be lost too.
        assert (await send(session, octet_request(CLIPS[0], model="second"))).status == 503
        assert await asyncio.to_thread(server.wait) == 1
    assert server.entries("a model is lost, the others go on")
    assert "has fallen off the bus" in server.wait_for("the engine is lost")["error"]


@contextlib.asynccontextmanager
async def _faulty_pair(directory: Path) -> AsyncIterator[tuple[LiveServer, aiohttp.ClientSession]]:
    for name in ("first", "second"):
        demo_copy(directory / name, name)
    with faulty(directory, "--bundle-poll-s", "0") as server:
        async with clients(server) as session:
            yield server, session
