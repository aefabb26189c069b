"""Threads for work that would block the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class DecodeThreads:
    """``count`` threads; work waits outside of their queue, where it would stay after its caller is cancelled."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._free = asyncio.Semaphore(count)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """``work(*arguments)`` in a thread of its own."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        done = self._executor.submit(work, *arguments)
        try:
            return await asyncio.wrap_future(done)
        finally:
            if done.done():
                self._free.release()
            else:  # cancelled, but the work goes on
                done.add_done_callback(functools.partial(self._release, loop))
            # An error's traceback holds this frame, which would hold the error: arguments for the collector to find.
            del done

    def for_each(self, work: Callable[[int], None], count: int) -> None:
        """``work`` of each number below ``count``, on this thread, which is one of these, and on those that are free.

        Raises the error of the lowest number that failed, once nothing of it runs any more.
        """
        shared = _Shared(work, count)
        helpers = [self._executor.submit(shared.take) for _ in range(min(self._count, count) - 1)]
        shared.take()
        for helper in helpers:
            if not helper.cancel():
                helper.result()
        shared.raise_first()

    def close(self) -> None:
        """Take no more work; what runs is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _release(self, loop: asyncio.AbstractEventLoop, _: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended before the work
            loop.call_soon_threadsafe(self._free.release)


class _Shared:
    """Numbers below ``count``, given out in their order to whoever is free, until one fails."""

    def __init__(self, work: Callable[[int], None], count: int) -> None:
        self._work = work
        self._numbers = itertools.count()
        self._count = count
        self._errors: dict[int, Exception] = {}

    def take(self) -> None:
        while not self._errors and (number := next(self._numbers)) < self._count:
            try:
                self._work(number)
            except Exception as error:
                self._errors[number] = error

    def raise_first(self) -> None:
        """All before the first failure were given out before it, so it is the one that a loop would meet."""
        if not self._errors:
            return
        first = self._errors[min(self._errors)]
        self._errors.clear()  # which hold this, by their tracebacks
        try:
            raise first
        finally:
            del first
