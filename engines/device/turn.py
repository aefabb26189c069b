"""Whose network may compute: lanes take turns, because two networks at once would both be late."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from engines.device.timeline import Timeline


class Turn:
    """One for all lanes of a device. The device waits, no thread does, except on the CPU, which is both."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[Timeline, int] | None = None

    @contextlib.contextmanager
    def taken(self, timeline: Timeline, last_mark: int) -> Iterator[None]:
        """What is given to ``timeline`` in the block starts after what was given in the turn before.

        ``last_mark`` of ``timeline`` is to be set at the end of the block.
        """
        with self._lock:
            if self._last is not None:
                timeline.follow(*self._last)
            yield
            self._last = timeline, last_mark
