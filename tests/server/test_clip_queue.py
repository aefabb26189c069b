"""The order in which clips and streams get an engine."""

from __future__ import annotations

import asyncio
import collections
import math

import numpy as np
import pytest

from engines.clip import Clip
from server.batching import clip_queue
from server.batching.clip_queue import ClipQueue, Job, Priority, StreamShare

CLIP = Clip(np.zeros((1, 1, 1, 3), np.uint8), "BGR")


def _job(share: StreamShare | None = None, priority: Priority = "normal") -> Job:
    return Job(CLIP, priority, math.inf, asyncio.get_running_loop().create_future(), share)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds that the queue sees; tests move it."""
    now = [100.0]
    monkeypatch.setattr(clip_queue.time, "monotonic", lambda: now[0])
    return now


async def test_streams_are_served_in_proportion_to_their_weights(clock: list[float]) -> None:
    """Every stream asks again as soon as it was served, at twice what the engine can do and more."""
    queue = ClipQueue()
    shares = {weight: [StreamShare(weight, served_s=100.0) for _ in range(8)] for weight in (1.0, 2.0, 4.0)}
    served: collections.Counter[StreamShare] = collections.Counter()
    for share in (one for group in shares.values() for one in group):
        queue.put(_job(share))
    for _ in range(2800):
        clock[0] += 0.01
        (job,) = queue.take(1)
        assert job.share is not None
        served[job.share] += 1
        queue.put(_job(job.share))
    fair = 2800 / (8 * 7)
    for weight, group in shares.items():
        assert all(0.8 < served[share] / (weight * fair) < 1.25 for share in group)


async def test_stream_that_asks_often_gets_no_more_than_one_that_asks_rarely(clock: list[float]) -> None:
    queue = ClipQueue()
    often, rare = StreamShare(1.0, served_s=100.0), StreamShare(1.0, served_s=100.0)
    served: collections.Counter[StreamShare] = collections.Counter()
    waiting: set[StreamShare] = set()
    for turn in range(400):
        clock[0] += 0.01
        for share in {often, *([rare] if turn % 2 == 0 else [])} - waiting:
            queue.put(_job(share))
            waiting.add(share)
        (job,) = queue.take(1)
        assert job.share is not None
        waiting.discard(job.share)
        served[job.share] += 1
    assert served[often] == served[rare] == 200


async def test_clips_and_streams_are_taken_in_turns(clock: list[float]) -> None:
    queue = ClipQueue()
    clips = [_job() for _ in range(4)]
    for job in (*clips, *(_job(StreamShare(1.0)) for _ in range(4))):
        queue.put(job)
    taken = queue.take(8)
    assert [job.share is None for job in taken] == [True, False] * 4
    assert [job for job in taken if job.share is None] == clips


async def test_waiting_clip_of_a_stream_is_replaced_until_it_is_taken(clock: list[float]) -> None:
    queue, share = ClipQueue(), StreamShare(1.0)
    newer = Clip(np.ones((1, 1, 1, 3), np.uint8), "BGR")
    queue.put(_job(share))
    assert queue.replace(share, newer)
    (job,) = queue.take(1)
    assert job.clip is newer
    assert not queue.replace(share, newer)


async def test_low_priority_is_taken_alone_and_last() -> None:
    queue = ClipQueue()
    low = [_job(priority="low") for _ in range(3)]
    live = [_job(), _job(StreamShare(1.0)), _job(priority="high")]
    for job in (*low, *live):
        queue.put(job)
    assert (len(queue), queue.low_priority) == (3, 3)
    assert set(queue.take(8)) == set(live)
    low[0].answer.cancel()
    queue.put_back([low[2]])
    assert queue.take(8) == [low[2]]
    queue.put(live[0])
    queue.discard(live[0])
    assert [queue.take(8), queue.take(8)] == [[low[1]], []]
    queue.put(low[1])
    assert queue.take_all() == [low[1]]
    assert queue.low_priority == 0
