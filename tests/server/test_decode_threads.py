"""Decode threads share work, and keep no references to failed work."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from server.clips.decode_jobs import Steps
from server.clips.decode_threads import LONG_NICENESS, DecodeThreads
from server.clips.lease import Lease
from server.errors import NotReadyError


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
    def work(pixels: np.ndarray) -> Steps[None]:
        def fail(number: int) -> None:
            raise ValueError(f"{pixels.shape}, {number}")

        return workers.for_each(fail, 10)

    for _ in range(50):
        pixels, gone = np.zeros(10), threading.Event()
        weakref.finalize(pixels, gone.set)
        with pytest.raises(ValueError, match=r"\(10,\), 0"):
            await workers.run(work, pixels)
        del pixels
        assert await asyncio.to_thread(gone.wait, 30)


@pytest.mark.usefixtures("no_collector")
async def test_cancelled_work_keeps_its_thread_until_it_ends(workers: DecodeThreads) -> None:
    free, begun = threading.Event(), threading.Semaphore(0)

    def work() -> None:
        begun.release()
        free.wait()

    abandoned = [asyncio.create_task(workers.run(work)) for _ in range(3)]
    for _ in abandoned:
        await asyncio.to_thread(begun.acquire)
    later = asyncio.create_task(workers.run(int))
    for task in abandoned:
        task.cancel()
    await asyncio.wait(abandoned)
    assert not later.done()
    free.set()
    assert await later == 0


def _work_for_long() -> None:
    """Take as much CPU time as makes a request give way."""
    end_s = time.thread_time() + 0.06
    while time.thread_time() < end_s:
        pass


async def test_requests_that_take_long_leave_a_thread_to_the_others(workers: DecodeThreads) -> None:
    free, stopped = threading.Event(), threading.Semaphore(0)

    def work(number: int) -> None:
        if number % 3:
            stopped.release()
            free.wait()
        else:
            _work_for_long()

    long = [asyncio.create_task(workers.run(workers.for_each, work, 6)) for _ in range(4)]
    for _ in range(2):
        await asyncio.to_thread(stopped.acquire)
    assert [await workers.run(int) for _ in range(10)] == [0] * 10
    assert not any(task.done() for task in long)
    free.set()
    await asyncio.gather(*long)


@pytest.mark.parametrize("expected", [False, True])
async def test_a_request_that_takes_long_gives_way_after_a_step(expected: bool) -> None:
    workers = DecodeThreads(1, "test")
    began, others_wait, order = threading.Event(), threading.Event(), []

    def work(number: int) -> None:
        if number == 0:
            _work_for_long()
        elif number == 1:
            began.set()
            others_wait.wait()
        else:
            order.append("long")

    def one_step(_: int) -> None:
        began.set()
        others_wait.wait()
        workers.expect(3600)
        order.append("long")

    task = asyncio.create_task(workers.run(workers.for_each, one_step if expected else work, 3))
    await asyncio.to_thread(began.wait)
    others = [asyncio.create_task(workers.run(order.append, "short")) for _ in range(5)]
    await asyncio.sleep(0)
    others_wait.set()
    await asyncio.gather(task, *others)
    assert order == ["short"] * 5 + ["long"] * (3 if expected else 1)
    workers.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
async def test_a_request_that_takes_long_has_a_lower_priority_of_the_system(workers: DecodeThreads) -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    seen: dict[int, int] = {}

    def work(number: int) -> None:
        seen[number] = niceness()
        _work_for_long()

    await workers.run(workers.for_each, work, 9)
    short = await workers.run(niceness)
    assert short == niceness()
    assert (seen[0], seen[8]) == (short, LONG_NICENESS)


async def test_cancelled_work_ends_with_its_step_and_keeps_its_lease_until_then(workers: DecodeThreads) -> None:
    free, begun, held = threading.Event(), threading.Semaphore(0), []

    def work(_: int) -> None:
        held.append(1)
        begun.release()
        free.wait()

    class Resource:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            held.append(0)

    async def request() -> None:
        with Lease() as lease:
            lease.take(Resource())
            await workers.run(workers.for_each, work, 1000, lease=lease)

    task = asyncio.create_task(request())
    for _ in range(3):
        await asyncio.to_thread(begun.acquire)
    task.cancel()
    await asyncio.wait([task])
    assert held == [1, 1, 1]
    free.set()
    async with asyncio.timeout(60):
        while 0 not in held:
            await asyncio.sleep(0)
    assert held == [1, 1, 1, 0]


async def test_threads_that_do_not_come_back_are_counted_and_refuse_work() -> None:
    workers = DecodeThreads(2, "test", stuck_s=0)
    free = threading.Event()
    tasks = [asyncio.create_task(workers.run(free.wait)) for _ in range(2)]
    async with asyncio.timeout(60):
        while workers.stuck < 2:
            await asyncio.sleep(0)
    with pytest.raises(NotReadyError, match="all 2 decode threads"):
        await workers.run(int)
    free.set()
    await asyncio.gather(*tasks)
    async with asyncio.timeout(60):
        while workers.stuck:
            await asyncio.sleep(0)
    assert await workers.run(int) == 0
    workers.close()


async def test_every_number_is_worked_with_once_although_steps_are_postponed() -> None:
    for count in (1, 2, 3):
        workers, done = DecodeThreads(count, "test"), []

        def work(number: int, workers: DecodeThreads = workers, done: list[int] = done) -> None:
            workers.expect(3600 if number % 2 else 0)
            done.append(number)

        await asyncio.gather(*(workers.run(workers.for_each, work, 4) for _ in range(200)))
        assert sorted(done) == sorted([*range(4)] * 200)
        workers.close()
