"""The clip queue: from the thread that decodes a source to the task that sends its clips."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable

from consumer.errors import ConsumerError
from consumer.sources.clip import Clip


class ClipQueue:
    """Holds at most ``capacity`` clips. One thread puts, one task takes.

    ``drops``: a clip too many pushes the oldest out and ``on_drop`` is called in the thread that puts; without it,
    that thread waits. ``full`` is set while there is no room: whatever of this source is older is outdated then.
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
        self._news = asyncio.Event()
        self._ended = False
        self._error: ConsumerError | None = None

    def put(self, clip: Clip) -> bool:
        """From the thread: add a clip; ``False`` when nobody wants any more."""
        with self._changed:
            if self._drops and len(self._clips) >= self._capacity:
                self._clips.popleft()
                self._on_drop()
            self._changed.wait_for(lambda: self._ended or len(self._clips) < self._capacity)
            if self._ended:
                return False
            self._clips.append(clip)
        self._tell()
        return True

    def end(self, error: ConsumerError | None = None) -> None:
        """From anywhere: there are no more clips, for a bad reason or a good one."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()
        self._tell()

    async def filled(self) -> bool:
        """Return when there is a clip to take, or ``False`` at the end; raises the error that ended it."""
        while True:
            self._news.clear()
            with self._changed:
                if self._clips:
                    return True
                if self._error is not None:
                    raise self._error
                if self._ended:
                    return False
            await self._news.wait()

    def take(self) -> Clip:
        """The oldest clip; only after ``filled()``."""
        with self._changed:
            clip = self._clips.popleft()
            self._changed.notify_all()
        self.full.clear()
        return clip

    def _tell(self) -> None:
        # A closed loop: the program ends, and nobody listens any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._notice)

    def _notice(self) -> None:
        self._news.set()
        if len(self._clips) >= self._capacity:
            self.full.set()
