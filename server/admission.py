"""What may be in the service at once: clips by their number, bodies and pixels by their bytes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from engines.errors import OverloadedError
from server.service_rate import ServiceRate


class Admission:
    """``places`` for clips from the end of their body to their answer; ``max_bytes`` for all that is held of requests.

    A body on its way takes no place, so clients that send slowly keep nobody out.
    """

    def __init__(self, places: int, max_bytes: int, rate: ServiceRate) -> None:
        self._places = places
        self._max_bytes = max_bytes
        self._rate = rate
        self._lock = threading.Lock()
        self.clips = 0
        self.held_bytes = 0

    def check(self, announced_bytes: int) -> None:
        """Raises OverloadedError when a body of that length, which has not begun, would be refused now."""
        if self.clips >= self._places:
            raise self._overloaded(f"{self._places} clips are in the service already")
        if self.held_bytes + announced_bytes > self._max_bytes:
            raise self._overloaded(f"requests hold {self.held_bytes} of {self._max_bytes} bytes already")

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A clip's place while the block runs; raises OverloadedError when there is none."""
        if self.clips >= self._places:
            raise self._overloaded(f"{self._places} clips are in the service already")
        self.clips += 1
        try:
            yield
        finally:
            self.clips -= 1

    @contextlib.contextmanager
    def holding(self) -> Iterator[Holding]:
        """An account of one request's bytes, settled when the block ends."""
        held = Holding(self)
        try:
            yield held
        finally:
            held.close()

    def take(self, count_bytes: int) -> None:
        """Raises OverloadedError when the sum would be too large; callable from any thread."""
        with self._lock:
            if self.held_bytes + count_bytes > self._max_bytes:
                raise self._overloaded(f"requests hold {self.held_bytes} of {self._max_bytes} bytes already")
            self.held_bytes += count_bytes

    def give_back(self, count_bytes: int) -> None:
        """What ``take`` took; callable from any thread."""
        with self._lock:
            self.held_bytes -= count_bytes

    def _overloaded(self, what: str) -> OverloadedError:
        return OverloadedError(what, retry_after_s=self._rate.retry_after_s(self.clips))


class Holding:
    """The bytes that one request holds; once closed it takes no more, so that a late thread leaves nothing behind."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._lock = threading.Lock()
        self._bytes = 0
        self._closed = False

    def add(self, count_bytes: int) -> None:
        """Raises OverloadedError; callable from any thread."""
        with self._lock:
            if not self._closed:
                self._admission.take(count_bytes)
                self._bytes += count_bytes

    def drop(self, count_bytes: int) -> None:
        """Give back so many of them."""
        with self._lock:
            if not self._closed:
                self._admission.give_back(count_bytes)
                self._bytes -= count_bytes

    def close(self) -> None:
        """Give everything back."""
        with self._lock:
            self._closed = True
            self._admission.give_back(self._bytes)
            self._bytes = 0
