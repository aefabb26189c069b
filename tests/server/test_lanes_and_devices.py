"""Engines that run several batches at once, and several engines behind one queue."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from engines.errors import EngineLostError
from engines.storage.bundle import DEMO
from server.batching.batcher import Batcher
from server.batching.clip_queue import Classified
from server.errors import NotReadyError
from server.limits.throughput import Throughput
from server.telemetry.metrics import Metrics
from tests.faulty_server import Fault, marked
from tests.live_server import LiveServer, run_module
from tests.server.echo import FAR_S, Echo, Gated, batching, small_clip
from tests.server.peers import clients, encoded, faulty, metrics, send, small_clips, tell, until_metric

FRAMES = small_clips(1)[0]
DEVICES = ("--device", "cuda:0,cuda:1,cuda:2")


def _ask(batcher: Batcher, *numbers: int) -> list[asyncio.Task[Classified]]:
    return [asyncio.create_task(batcher.classify(small_clip(number), FAR_S)) for number in numbers]


async def _until_seen(engine: Echo, batches: int) -> None:
    async with asyncio.timeout(60):
        while len(engine.seen) < batches:
            await asyncio.sleep(0)


async def _many_turns() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


async def _measured(engine: Gated, batcher: Batcher) -> list[asyncio.Task[Classified]]:
    """Classify one clip, so that its time is known, and start a second one, which stays in the engine."""
    engine.open(0)
    await asyncio.gather(*_ask(batcher, 0))
    first = _ask(batcher, 1)
    await _until_seen(engine, 2)
    return first


async def test_busy_engine_gets_a_small_batch_only_when_it_is_due() -> None:
    engine = Gated(max_batch=4, lanes=2, network_ms=30_000)
    async with batching(engine) as batcher:
        tasks = await _measured(engine, batcher)
        tasks += _ask(batcher, 2, 3)
        await _many_turns()
        assert engine.seen == [[0], [1]]
        engine.open(2)
        engine.open(1)
        answers = await asyncio.gather(*tasks)
    assert engine.seen == [[0], [1], [2, 3]]
    assert [answer.probabilities.argmax() for answer in answers] == [1, 2, 3]


async def test_busy_engine_gets_a_full_batch_at_once() -> None:
    engine = Gated(max_batch=4, lanes=2, network_ms=30_000)
    async with batching(engine) as batcher:
        tasks = await _measured(engine, batcher)
        tasks += _ask(batcher, 2, 3, 4, 5, 6)
        await _until_seen(engine, 3)
        assert engine.seen[2:] == [[2, 3, 4, 5]]
        await _many_turns()
        assert batcher.waiting == 1
        for number in (2, 1, 6):
            engine.open(number)
        answers = await asyncio.gather(*tasks)
    assert [answer.probabilities.argmax() for answer in answers] == [1, 2, 3, 4, 5, 6]


async def test_next_batch_starts_before_the_running_one_ends() -> None:
    engine = Gated(max_batch=4, lanes=2, network_ms=50)
    async with batching(engine) as batcher:
        tasks = await _measured(engine, batcher)
        tasks += _ask(batcher, 2)
        # The batch before is still in the engine.
        await _until_seen(engine, 3)
        engine.open(1)
        engine.open(2)
        await asyncio.gather(*tasks)


async def test_idle_engines_share_the_waiting_clips() -> None:
    engines = [Gated(max_batch=8, lanes=1) for _ in range(2)]
    async with batching(*engines) as batcher:
        tasks = _ask(batcher, *range(8))
        for engine in engines:
            await _until_seen(engine, 1)
        assert sorted(len(engine.seen[0]) for engine in engines) == [4, 4]
        for engine in engines:
            engine.open(engine.seen[0][0])
        assert [answer.probabilities.argmax() for answer in await asyncio.gather(*tasks)] == list(range(8))


@pytest.mark.parametrize(("waiting", "batches"), [(1, [1]), (2, [2]), (3, [2, 1]), (8, [4, 4]), (13, [7, 6])])
async def test_idle_engine_with_two_lanes_gets_two_half_batches(waiting: int, batches: list[int]) -> None:
    engine = Gated(max_batch=8, lanes=2)
    async with batching(engine) as batcher:
        tasks = _ask(batcher, *range(waiting))
        await _until_seen(engine, len(batches))
        assert sorted(map(len, engine.seen), reverse=True) == batches
        for number in range(waiting):
            engine.open(number)
        assert [answer.probabilities.argmax() for answer in await asyncio.gather(*tasks)] == list(range(waiting))


async def test_throughput_counts_overlapping_time_once() -> None:
    throughput = Throughput()
    throughput.record(4, 10.0, 12.0)
    assert throughput.seconds_per_clip == pytest.approx(0.5)
    for _ in range(100):
        throughput.record(4, 10.0, 14.0)  # overlaps the batch before, and ends 2 seconds after it
        throughput.record(4, 12.0, 14.0)
    assert throughput.seconds_per_clip < 0.5


class _Lost(Echo):
    def infer(self, clips: object) -> object:  # type: ignore[override]
        raise EngineLostError("gone")


async def test_clips_of_a_lost_engine_are_retried_once_on_another() -> None:
    lost: list[EngineLostError] = []
    for engines, answered in (([_Lost(2), Echo(2)], True), ([_Lost(2), _Lost(2), Echo(2)], False)):
        batcher = Batcher(engines, 60, Throughput(), Metrics(["healthy"]).of_model("a"))
        batcher.start(lost.append)
        (first,) = await asyncio.gather(*_ask(batcher, 7), return_exceptions=True)
        if answered:
            assert isinstance(first, Classified)
            assert first.probabilities.argmax() == 7
        else:
            assert isinstance(first, NotReadyError)
        (later,) = await asyncio.gather(*_ask(batcher, 8))
        assert later.probabilities.argmax() == 8
        assert (batcher.engines_serving, batcher.engines_lost) == (1, len(engines) - 1)
        assert await batcher.stop(60) == engines[-1:]
    assert not lost


def _devices(server: LiveServer) -> list[str]:
    return [entry["device"] for entry in server.entries("in engine") if entry["numbers"]]


async def _ready(session: aiohttp.ClientSession) -> int:
    async with session.get("/health/ready") as response:
        return response.status


async def test_clips_go_to_the_device_with_the_least_work() -> None:
    with faulty(DEMO, *DEVICES, "--lanes", "2") as server:
        async with clients(server) as session:
            await tell(server, "hold")
            bodies = [encoded(marked(FRAMES, number)) for number in range(6)]
            tasks = []
            for count, body in enumerate(bodies, 1):
                tasks.append(asyncio.create_task(send(session, body)))
                await until_metric(session, "vjepa_admitted_clips", lambda clips, count=count: clips == count)
                await until_metric(session, "vjepa_queue_clips", lambda clips: clips == 0)
            await tell(server, "release")
            assert [answer.status for answer in await asyncio.gather(*tasks)] == [200] * 6
        assert await asyncio.to_thread(server.stop) == 0
    used = _devices(server)
    assert set(used[:3]) == set(used[3:]) == {"cuda:0", "cuda:1", "cuda:2"}


async def test_lost_device_is_reported_and_the_last_one_ends_the_process() -> None:
    with faulty(DEMO, "--device", "cuda:0,cuda:1") as server:
        async with clients(server) as session:
            await tell(server, "lose cuda:1")
            answers = [await send(session, encoded(marked(FRAMES, number))) for number in range(6)]
            assert [answer.status for answer in answers] == [200] * 6
            assert await _ready(session) == 200
            counted = await metrics(session)
            assert (counted["vjepa_engines_serving"], counted["vjepa_engines_lost"]) == (1, 1)
            assert "cuda:1 has fallen off" in server.wait_for("an engine is lost, the others go on")["error"]
            await tell(server, "lose cuda:0")
            last = await send(session, encoded(FRAMES))
            assert last.status == 503
        assert await asyncio.to_thread(server.wait) == 1
    assert "cuda:0 has fallen off" in server.wait_for("the engine is lost")["error"]


@pytest.mark.parametrize("fault", [Fault.LOSE, Fault.HANG])
async def test_clip_that_loses_devices_is_tried_on_two_at_most(fault: Fault) -> None:
    with faulty(DEMO, *DEVICES, "--lanes", "2", "--engine-timeout-ms", "700") as server:
        async with clients(server) as session:
            bad = await send(session, encoded(marked(FRAMES, 1, fault)))
            assert bad.status == 503
            assert int(bad.headers["Retry-After"]) >= 1
            good = await asyncio.gather(*(send(session, encoded(marked(FRAMES, number))) for number in range(2, 8)))
            assert [answer.status for answer in good] == [200] * 6
            assert (await metrics(session))["vjepa_engines_serving"] == 1
        assert await asyncio.to_thread(server.stop) == 0
    assert len(set(_devices(server)[:2])) == 2


async def test_stop_waits_for_all_lanes(batch_bundle: Path) -> None:
    with faulty(batch_bundle, "--device", "cuda:0,cuda:1", "--lanes", "2") as server:
        async with clients(server) as session:
            await tell(server, "hold")
            tasks = [asyncio.create_task(send(session, encoded(marked(FRAMES, number)))) for number in range(4)]
            await until_metric(session, "vjepa_admitted_clips", lambda clips: clips == 4)
            server.process.terminate()
            await asyncio.to_thread(server.wait_for, "draining")
            await tell(server, "release")
            assert [answer.status for answer in await asyncio.gather(*tasks)] == [200] * 4
        assert await asyncio.to_thread(server.wait) == 0


@pytest.mark.parametrize("devices", ["cuda:x", "cuda:0,cuda:0", "cuda,cuda:1", "cpu,cuda:0", "gpu"])
def test_invalid_devices_are_refused(devices: str) -> None:
    refused = run_module("server", str(DEMO), "--port", "0", "--device", devices)
    assert refused.returncode == 2
    assert "--device" in refused.stderr


def test_cpu_bundle_is_refused_on_a_gpu() -> None:
    refused = run_module("server", str(DEMO), "--port", "0", "--log-format", "text", "--device", "cuda:3")
    assert refused.returncode == 2
    assert "cannot run on cuda:3" in refused.stderr
    assert "help:" in refused.stderr
