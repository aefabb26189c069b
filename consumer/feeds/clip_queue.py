"""A bounded queue from the thread that decodes a source to the task that sends its clips."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable

from consumer.errors import ConsumerError
from consumer.sources.clip import Clip


class ClipQueue:
    """Holds at most ``capacity`` clips. One thread puts clips in, one task takes them out.

    If the queue is full and ``drops`` is true, a new clip replaces the oldest one, and the putting thread calls
    ``on_drop``; if ``drops`` is false, that thread waits. ``full`` is set while the queue is full: clips of this
    source that were taken earlier are outdated then.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, capacity: int, drops: bool, on_drop: Callable[[], None]
    ) -> None:
        self.full = asyncio.Event()
        self._loop = loop
        self._capacity = capacity
        self._drops = drops
        self._on_drop = on_drop
        self._clips: deque[Clip] = deque()
        self._changed = threading.Condition()
        self._wakeup = asyncio.Event()
        self._ended = False
        self._error: ConsumerError | None = None

    def put(self, clip: Clip) -> bool:
        """Add a clip; called in the reader's thread. Returns ``False`` if the queue has ended."""
        with self._changed:
            if self._drops and len(self._clips) >= self._capacity:
                self._clips.popleft()
                self._on_drop()
            self._changed.wait_for(lambda: self._ended or len(self._clips) < self._capacity)
            if self._ended:
                return False
            self._clips.append(clip)
        self._wake()
        return True

    def end(self, error: ConsumerError | None = None) -> None:
        """End the queue, with ``error`` if the source failed; thread-safe. Only the first call has an effect."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()
        self._wake()

    async def filled(self) -> bool:
        """Wait for a clip; returns ``False`` at the end. Raises the error that ended the queue."""
        while True:
            self._wakeup.clear()
            with self._changed:
                if self._clips:
                    return True
                if self._error is not None:
                    raise self._error
                if self._ended:
                    return False
            await self._wakeup.wait()

    def take(self) -> Clip:
        """Remove and return the oldest clip; only after ``filled()`` has returned true."""
        with self._changed:
            clip = self._clips.popleft()
            self._changed.notify_all()
        self.full.clear()
        return clip

    def _wake(self) -> None:
        # The loop is closed while the program ends; then no task waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._on_wake)

    def _on_wake(self) -> None:
        self._wakeup.set()
        if len(self._clips) >= self._capacity:
            self.full.set()
