"""Clips that share a batch: each gets its own answer, and a bad clip does not affect the others."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.errors import EngineError
from export.demo.labels import LABELS
from export.demo.rendering.clips import render_clip
from server.batching.batcher import Batcher
from server.batching.clip_queue import HIGH_IN_A_ROW, ClipQueue, Job, Priority
from tests.faulty_server import Fault, marked
from tests.server.conftest import Answer
from tests.server.echo import FAR_S, Echo, batching, small_clip
from tests.server.peers import clients, confidences, encoded, faulty, metrics, send, small_clips, tell, until_metric

ALL = len(LABELS)


# Number, height, width, high priority, and after how many turns of the event loop its client leaves (None: never).
_ASKED = st.tuples(
    st.integers(0, 255),
    st.integers(1, 40),
    st.integers(1, 40),
    st.booleans(),
    st.none() | st.integers(0, 40),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    asked=st.lists(_ASKED, min_size=100, max_size=400),
    max_batch=st.integers(1, 8),
    lanes=st.integers(1, 3),
    engines=st.integers(1, 3),
)
def test_every_answer_belongs_to_its_own_clip(asked: list[Any], max_batch: int, lanes: int, engines: int) -> None:
    asyncio.run(_ask_all(asked, [Echo(max_batch, lanes) for _ in range(engines)]))


async def _ask_all(asked: list[Any], engines: list[Echo]) -> None:
    async with batching(*engines) as batcher:
        results = await asyncio.gather(*(_ask(batcher, *one) for one in asked), return_exceptions=True)
    for (number, _, _, _, gone_after), result in zip(asked, results, strict=True):
        if isinstance(result, asyncio.CancelledError):
            assert gone_after is not None
        elif number == 255:
            assert isinstance(result, EngineError)
        else:
            assert not isinstance(result, BaseException), result
            assert result.probabilities.argmax() == number
    for engine in engines:
        assert max(map(len, engine.seen), default=0) <= engine.manifest.max_batch


async def _ask(batcher: Batcher, number: int, height: int, width: int, high: bool, gone_after: int | None) -> Any:
    priority: Priority = "high" if high else "normal"
    task = asyncio.create_task(batcher.classify(small_clip(number, height, width), FAR_S, priority))
    if gone_after is not None:
        for _ in range(gone_after):
            await asyncio.sleep(0)
        task.cancel()
    return await task


async def test_idle_engine_waits_for_a_batch_only_with_batch_wait() -> None:
    for wait_s, batches in ((0, [[0], [1, 2]]), (30, [[0, 1, 2]])):
        engine = Echo(3)
        async with batching(engine, wait_s=wait_s) as batcher:
            first = asyncio.create_task(batcher.classify(small_clip(0), FAR_S))
            while not engine.seen and not wait_s:
                await asyncio.sleep(0)
            others = [asyncio.create_task(batcher.classify(small_clip(number), FAR_S)) for number in (1, 2)]
            await asyncio.gather(first, *others)
        assert engine.seen == batches


async def test_high_priority_goes_first_without_starving_normal() -> None:
    queue = ClipQueue()
    lanes: list[Priority] = ["normal"] * 3 + ["high"] * 8
    loop = asyncio.get_running_loop()
    jobs = [Job(small_clip(index), lane, FAR_S, loop.create_future()) for index, lane in enumerate(lanes)]
    for job in jobs:
        queue.put(job)
    taken = [jobs.index(job) for job in queue.take(len(jobs))]
    assert HIGH_IN_A_ROW == 3
    assert taken == [3, 4, 5, 0, 6, 7, 8, 1, 9, 10, 2]


async def test_one_bad_clip_in_a_batch_of_eight_fails_alone(batch_bundle: Path) -> None:
    frames = small_clips(9)
    bodies = [encoded(frames[index], top_k=ALL, clip_id=str(index)) for index in range(7)]
    bad = encoded(marked(frames[7], 7, Fault.RAISE), top_k=ALL)
    with faulty(batch_bundle) as server:
        async with clients(server) as session:
            alone = [await send(session, body) for body in bodies]
            await tell(server, "hold")
            plug = asyncio.create_task(send(session, encoded(frames[8])))
            await until_metric(session, "vjepa_admitted_clips", lambda clips: clips == 1)
            await until_metric(session, "vjepa_queue_clips", lambda clips: clips == 0)
            together = asyncio.gather(*(send(session, body) for body in [*bodies, bad]))
            await until_metric(session, "vjepa_queue_clips", lambda clips: clips == 8)
            await tell(server, "release")
            answers = await together
            assert (await plug).status == 200
            counted = await metrics(session)
    assert [entry["clips"] for entry in server.entries("in engine")].count(8) >= 1
    assert [answer.status for answer in answers] == [200] * 7 + [500]
    for answer, solo in zip(answers[:7], alone, strict=True):
        assert confidences(answer) == confidences(solo)
    assert counted["vjepa_batch_clips_sum"] == 7 + 1 + 8 + 8
    assert counted["vjepa_engine_failures_total"] == 2


async def test_hundreds_of_requests_while_clients_disconnect(batch_bundle: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = [(int(height), int(width)) for height, width in rng.integers(16, 90, (10, 2))]
    frames = [render_clip(35_000_000 + index, size=size).frames for index, size in enumerate(sizes)]
    bodies = [encoded(each, top_k=ALL, clip_id=str(index)) for index, each in enumerate(frames)]
    order = rng.permutation(np.repeat(np.arange(10), 30))
    with faulty(batch_bundle, "--queue-size", "400") as server:
        async with clients(server) as session:
            alone = [confidences(await send(session, body)) for body in bodies]
            asked = [asyncio.create_task(send(session, bodies[index])) for index in order]
            leaving = [task for task in asked if rng.random() < 0.2]
            for answered in asyncio.as_completed(asked):
                # A client leaves whenever another one is answered, so that its request may be in any phase.
                if leaving:
                    leaving.pop().cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await answered
    kept = 0
    for index, task in zip(order, asked, strict=True):
        if not task.cancelled():
            answer: Answer = task.result()
            kept += 1
            assert (answer.status, answer.body["clip_id"]) == (200, str(index))
            assert confidences(answer) == pytest.approx(alone[index], abs=1e-4)
    assert kept >= 200
    assert max(entry["clips"] for entry in server.entries("in engine")) > 1
