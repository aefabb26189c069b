"""Engines that fail on one clip, on several, on all, for good, or that never return."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from engines.storage.bundle import DEMO
from tests.faulty_server import Fault, marked
from tests.live_server import LiveServer
from tests.server.conftest import Answer
from tests.server.peers import (
    Peer,
    clients,
    encoded,
    faulty,
    metrics,
    post_head,
    send,
    small_clips,
    tell,
    until_metric,
)

FRAMES = small_clips(1)[0]
UNHEALTHY = (503, 503, "unhealthy")


def _body(fault: Fault | None = None, number: int = 0) -> bytes:
    return encoded(marked(FRAMES, number, fault))


@pytest.mark.parametrize("fault", [Fault.RAISE, Fault.NAN])
async def test_engine_failure_on_one_clip_fails_only_that_clip(fault: Fault) -> None:
    with faulty(DEMO) as server:
        async with clients(server) as session:
            bodies = [_body(fault if number == 2 else None, number) for number in range(6)]
            answers = await asyncio.gather(*(send(session, body) for body in bodies))
            assert [answer.status for answer in answers] == [200, 200, 500, 200, 200, 200]
            async with session.get("/health/ready") as response:
                assert response.status == 200
        assert await asyncio.to_thread(server.stop) == 0
    logged = [entry for entry in server.entries("request failed") if entry["level"] == "ERROR"]
    assert [entry["request_id"] for entry in logged] == [answers[2].body["request_id"]]


async def test_many_bad_clips_do_not_end_the_engine() -> None:
    with faulty(DEMO) as server:
        async with clients(server) as session:
            answers = [await send(session, _body(Fault.RAISE, number)) for number in range(10)]
            assert [answer.status for answer in answers] == [500] * 10
            assert (await send(session, _body())).status == 200
        assert await asyncio.to_thread(server.stop) == 0


async def test_engine_that_fails_on_every_clip_ends_the_process() -> None:
    with faulty(DEMO) as server:
        async with clients(server) as session:
            await tell(server, "break")
            answers = await asyncio.gather(*(send(session, _body(number=number)) for number in range(8)))
        assert await asyncio.to_thread(server.wait) == 1
    statuses = [answer.status for answer in answers]
    assert statuses.count(500) == 3
    assert statuses.count(503) == 5
    assert "fails on every clip" in server.wait_for("the engine is lost")["error"]


async def test_lost_device_ends_the_process_and_answers_all_clients() -> None:
    with faulty(DEMO) as server:
        async with clients(server) as session:
            answers = await _lose(server, session, Fault.LOSE)
        assert await asyncio.to_thread(server.wait) == 1
    _assert_refused(answers)
    assert "illegal memory access" in server.wait_for("the engine is lost")["error"]


async def test_hanging_engine_ends_the_process_and_answers_all_clients() -> None:
    with faulty(DEMO, "--engine-timeout-ms", "700") as server:
        async with clients(server) as session:
            answers = await _lose(server, session, Fault.HANG)
        assert await asyncio.to_thread(server.wait) == 1
    _assert_refused(answers)
    assert "did not return within 0.7 s" in server.wait_for("the engine is lost")["error"]


async def _lose(server: LiveServer, session: aiohttp.ClientSession, fault: Fault) -> list[Answer]:
    """The answers to a clip that loses the engine and to five that wait behind it; checks the health meanwhile."""
    # The process does not end while the body of this request is still being sent, so that its health can be read.
    reader = await Peer.connect(server)
    await reader.write(post_head(len(_body())), b"{")
    await tell(server, "hold")
    tasks = [asyncio.create_task(send(session, _body(fault, 1)))]
    seen = server.entries("in engine")
    while [1] not in [entry["numbers"] for entry in seen]:
        await asyncio.to_thread(server.wait_for, "in engine", len(seen) + 1)
        seen = server.entries("in engine")
    tasks += [asyncio.create_task(send(session, _body(number=number))) for number in range(2, 7)]
    await until_metric(session, "vjepa_queue_clips", lambda clips: clips == 5)
    await tell(server, "release")
    answers = await asyncio.gather(*tasks)
    assert await _health(session) == UNHEALTHY
    assert (await metrics(session))['vjepa_engine_state{vjepa_engine_state="unhealthy"}'] == 1
    await reader.write(_body()[1:])
    assert (await reader.answer()).status == 503
    return answers


async def _health(session: aiohttp.ClientSession) -> tuple[int, int, str]:
    async with session.get("/health/ready") as ready, session.get("/health") as health:
        return ready.status, health.status, (await health.json())["status"]


def _assert_refused(answers: list[Answer]) -> None:
    for answer in answers:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1


def test_process_stops_although_its_engine_hangs(tmp_path: Path) -> None:
    async def hang_and_stop(server: LiveServer) -> int:
        async with clients(server) as session:
            task = asyncio.create_task(send(session, _body(Fault.HANG)))
            await asyncio.to_thread(server.wait_for, "in engine", 4)
            server.process.terminate()
            code = await asyncio.to_thread(server.wait)
            with pytest.raises(aiohttp.ClientError):
                await task
        return code

    with faulty(DEMO, "--drain-timeout-s", "1", "--engine-timeout-ms", "60000") as server:
        assert asyncio.run(hang_and_stop(server)) == 0
