"""Many streams at once, or one after the other: stops, reloads, memory, and nothing that is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from engines.storage.bundle import DEMO, open_bundle
from tests.live_server import serving
from tests.server.demo_bundles import demo_copy
from tests.server.peers import clients, faulty, metrics, resident_bytes, tell, until_metric
from tests.server.streams import END, FPS, MOTION, frame_messages, of_kind, streaming

DEMO_BATCH = open_bundle(DEMO).manifest.max_batch


async def test_stop_answers_begun_windows_and_closes_all_with_1001() -> None:
    count = 50
    with faulty(DEMO) as server:
        async with clients(server) as session, contextlib.AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(streaming(session, name=f"camera {n}")) for n in range(count)]
            await tell(server, "hold")
            for client in opened:
                await client.send(frame_messages(MOTION))
            # One batch is in the engine, and the others wait.
            in_engine = server.entries("in engine")
            await until_metric(session, "vjepa_queue_clips", lambda value: value >= count - DEMO_BATCH)
            assert len(server.entries("in engine")) <= len(in_engine) + 1
            server.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(server.wait_for, "draining")
            await tell(server, "release")
            answers = [await client.rest() for client in opened]
            codes = {client.socket.close_code for client in opened}
        assert await asyncio.to_thread(server.wait) == 0
    assert [[one["type"] for one in told] for told in answers] == [["prediction", "ended"]] * count
    assert codes == {aiohttp.WSCloseCode.GOING_AWAY}


async def test_reload_under_load_loses_no_stream(tmp_path: Path) -> None:
    demo_copy(tmp_path / "served", "first")
    windows = 6
    with serving(tmp_path / "served", "--bundle-poll-s", "0") as server:
        async with clients(server) as session:
            swapped = asyncio.Event()

            async def watch() -> list[dict[str, Any]]:
                async with streaming(session, policy="wait") as client:
                    for window in range(windows):
                        await client.send(frame_messages(MOTION, first_s=window * 16 / FPS))
                        if window == windows // 2:
                            await swapped.wait()
                    return await client.ended()

            watching = [asyncio.create_task(watch()) for _ in range(8)]
            await until_metric(session, 'vjepa_stream_windows_total{outcome="answered"}', lambda count: count >= 8)
            await asyncio.to_thread(demo_copy, tmp_path / "served", "second")
            server.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(server.wait_for, "engine swapped")
            swapped.set()
            told = await asyncio.gather(*watching)
    for answers in told:
        assert [one["window"] for one in of_kind(answers, "prediction")] == list(range(windows))
        assert answers[-1]["reason"] == "the client ended the stream"


async def test_stream_holds_no_more_than_its_ring_and_256_kib() -> None:
    """The crops of two windows are counted when it begins; its other memory is what the process grows by."""
    count = 40
    with serving(DEMO) as server:
        async with clients(server) as session, contextlib.AsyncExitStack() as stack:
            await _come_and_go(session, 50)
            await until_metric(session, "vjepa_streams", lambda value: value == 0)
            before_bytes = resident_bytes(server)
            opened = [await stack.enter_async_context(streaming(session, policy="wait")) for _ in range(count)]
            for client in opened:
                await client.send(frame_messages(np.concatenate([MOTION, MOTION])[:31]))
                await client.next("prediction")
            held = (await metrics(session))["vjepa_inflight_bytes"] / count
            assert (resident_bytes(server) - before_bytes) / count <= held + 256 * 2**10
    ring_bytes = 2 * 16 * 3 * 64**2
    assert ring_bytes <= held <= ring_bytes + 256 * 2**10


@pytest.mark.alone
async def test_streams_that_come_and_go_leave_nothing() -> None:
    with serving(DEMO) as server:
        async with clients(server) as session:
            await _come_and_go(session, 20)
            before = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
            await _come_and_go(session, 1000)
            for gauge, rest in (("vjepa_streams", 0), ("vjepa_inflight_bytes", 0), ("vjepa_connections", 1)):
                await until_metric(session, gauge, lambda value, rest=rest: value == rest)
            assert (await metrics(session))["vjepa_inflight_bytes"] == 0
            assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) <= before + 1
        assert await asyncio.to_thread(server.stop) == 0
    assert not [entry for entry in server.log if entry["level"] in ("ERROR", "CRITICAL")]


async def _come_and_go(session: aiohttp.ClientSession, count: int) -> None:
    """Half of the clients end their stream; of the others, some break off in the middle of a message."""
    for index in range(count):
        async with streaming(session, stride=4) as client:
            await client.send(frame_messages(MOTION[: index % 17]))
            if index % 2:
                await client.socket.send_str(END)
            transport = client.socket.get_extra_info("socket")
            if index % 4 == 0 and transport is not None:
                client.socket._response.connection.transport.abort()  # type: ignore[union-attr]
