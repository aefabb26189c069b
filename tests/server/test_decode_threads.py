"""Decode threads share work, and keep no references to failed work."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from server.clips.decode_threads import DecodeThreads


@pytest.fixture
async def workers() -> Iterator[DecodeThreads]:
    workers = DecodeThreads(3, "test")
    yield workers
    workers.close()


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Objects in reference cycles are not collected during the test."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_work_is_shared_by_all_free_threads(workers: DecodeThreads) -> None:
    done, threads = [], set()
    all_there = threading.Barrier(3)

    def work(number: int) -> None:
        if number < 3:
            all_there.wait(60)
        done.append(number)
        threads.add(threading.get_ident())

    await workers.run(workers.for_each, work, 50)
    assert sorted(done) == list(range(50))
    assert len(threads) == 3


async def test_one_free_thread_does_all_the_work(workers: DecodeThreads) -> None:
    free = threading.Event()
    busy = [asyncio.create_task(workers.run(free.wait)) for _ in range(2)]
    threads = set()
    await workers.run(workers.for_each, lambda _: threads.add(threading.get_ident()), 50)
    assert len(threads) == 1
    free.set()
    await asyncio.gather(*busy)


async def test_first_failure_is_raised_and_ends_the_work(workers: DecodeThreads) -> None:
    started = itertools.count()

    def work(number: int) -> None:
        next(started)
        if number >= 20:
            raise ValueError(str(number))

    for _ in range(200):
        with pytest.raises(ValueError, match=r"^20$"):
            await workers.run(workers.for_each, work, 10_000)
    assert next(started) < 200 * 100  # no work starts after the failure


@pytest.mark.usefixtures("no_collector")
async def test_failure_keeps_no_references(workers: DecodeThreads) -> None:
    def work(pixels: np.ndarray) -> None:
        def fail(number: int) -> None:
            raise ValueError(f"{pixels.shape}, {number}")

        workers.for_each(fail, 10)

    for _ in range(50):
        pixels, gone = np.zeros(10), threading.Event()
        weakref.finalize(pixels, gone.set)
        with pytest.raises(ValueError, match=r"\(10,\), 0"):
            await workers.run(work, pixels)
        del pixels
        assert await asyncio.to_thread(gone.wait, 30)


@pytest.mark.usefixtures("no_collector")
async def test_cancelled_work_keeps_its_thread_until_it_ends(workers: DecodeThreads) -> None:
    free = threading.Event()
    abandoned = [asyncio.create_task(workers.run(free.wait)) for _ in range(3)]
    await asyncio.sleep(0)
    later = asyncio.create_task(workers.run(int))
    for task in abandoned:
        task.cancel()
    await asyncio.wait(abandoned)
    assert not later.done()
    free.set()
    assert await later == 0
