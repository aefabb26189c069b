"""Threads for work that would block the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Workers:
    """``count`` threads; work waits outside of their queue, where it would stay after its caller is cancelled."""

    def __init__(self, count: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._free = asyncio.Semaphore(count)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """``work(*arguments)`` in a thread of its own."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        done = self._executor.submit(work, *arguments)

        def release(_: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended before the work
                loop.call_soon_threadsafe(self._free.release)

        done.add_done_callback(release)
        try:
            return await asyncio.wrap_future(done)
        finally:
            # An error's traceback holds this frame, which would hold the error: arguments for the collector to find.
            del done

    def close(self) -> None:
        """Take no more work; what runs is not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)
