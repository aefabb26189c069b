"""How busy the engine is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class BusyTime:
    """Adds up the time in which at least one thread is ``working``, from the first batch to the latest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._working = 0
        self._first_s: float | None = None
        self._last_s = 0.0
        self._since_s = 0.0
        self._busy_s = 0.0

    @contextmanager
    def working(self) -> Iterator[None]:
        """The engine works during the block."""
        with self._lock:
            now_s = time.monotonic()
            self._first_s = now_s if self._first_s is None else self._first_s
            self._since_s = self._since_s if self._working else now_s
            self._working += 1
        try:
            yield
        finally:
            with self._lock:
                self._last_s = time.monotonic()
                self._working -= 1
                self._busy_s += 0.0 if self._working else self._last_s - self._since_s

    @property
    def share(self) -> float:
        """The part of the time from the first batch to the latest, from 0 to 1; 1 before a batch has ended."""
        span_s = self._last_s - self._first_s if self._first_s is not None else 0.0
        return self._busy_s / span_s if span_s > 0 else 1.0
