"""Threads that decode clips, which would block the event loop."""

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
    """``count`` threads. Work waits outside of the executor's queue, so that cancelled work leaves nothing in it."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._free = asyncio.Semaphore(count)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run ``work(*arguments)`` in one of the threads and return its result."""
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
            # The traceback of an error holds this frame, which would hold the error and the arguments.
            del done

    def for_each(self, work: Callable[[int], None], count: int) -> None:
        """Run ``work`` with each number below ``count``, on this thread, which is one of these, and on free ones.

        Raises the error of the lowest number that failed, when none of the work runs any more.
        """
        shared = _Shared(work, count)
        helpers = [self._executor.submit(shared.take) for _ in range(min(self._count, count) - 1)]
        shared.take()
        for helper in helpers:
            if not helper.cancel():
                helper.result()
        shared.raise_first()

    def close(self) -> None:
        """Take no more work; running work is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _release(self, loop: asyncio.AbstractEventLoop, _: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended before the work
            loop.call_soon_threadsafe(self._free.release)


class _Shared:
    """The numbers below ``count``, given out in order to the threads that are free, until the work with one fails."""

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
        """Raise the error of the lowest number, which a loop would meet too: lower numbers were given out before."""
        if not self._errors:
            return
        first = self._errors[min(self._errors)]
        self._errors.clear()  # their tracebacks hold this object
        try:
            raise first
        finally:
            del first
