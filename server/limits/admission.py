"""What may be in the service at once: clips by their number, bodies and pixels by their bytes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from engines.errors import OverloadedError
from server.limits.throughput import ServiceRate

# A body of which so much has come, and at least so fast, will be a clip in a moment: it counts as one already.
SOON_BYTES = 64 * 2**10
_SOON_BYTES_PER_S = 2**20


class Admission:
    """``places`` for clips from the end of their body to their answer; ``max_bytes`` for all that is held of requests.

    A body that comes fast keeps others from the place that it will take, so that of a burst only as many are read as
    can be served; one that comes slowly does not, so that clients that send slowly keep nobody out.
    """

    def __init__(self, places: int, max_bytes: int, rate: ServiceRate) -> None:
        self._places = places
        self._max_bytes = max_bytes
        self._rate = rate
        self.clips = 0
        self.held_bytes = 0
        self._lock = threading.Lock()
        self._reading: set[Holding] = set()

    def check(self, announced_bytes: int) -> None:
        """Raises OverloadedError when a body of that length, which has not begun, would be refused now."""
        self.check_place()
        if self.held_bytes + announced_bytes > self._max_bytes:
            raise self._too_many_bytes()

    def check_place(self) -> None:
        """Raises OverloadedError when those who come fast will take all the places."""
        if self.clips + self._soon() >= self._places:
            raise self._too_many_clips()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A clip's place while the block runs; raises OverloadedError when there is none."""
        self.clips += 1
        try:
            if self.clips > self._places:
                raise self._too_many_clips()
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

    @contextlib.contextmanager
    def reading(self, held: Holding) -> Iterator[None]:
        """The body that ``held`` is for is read in the block."""
        try:
            yield
        finally:
            self._reading.discard(held)

    def expect(self, held: Holding) -> None:
        """Enough of a body has come to count it, unless there is no place left; raises OverloadedError then."""
        self.check_place()
        self._reading.add(held)

    def take(self, count_bytes: int) -> None:
        """Raises OverloadedError when the sum would be too large; callable from any thread."""
        with self._lock:
            self.held_bytes += count_bytes
            if self.held_bytes > self._max_bytes:
                self.held_bytes -= count_bytes
                raise self._too_many_bytes()

    def give_back(self, count_bytes: int) -> None:
        """What ``take`` took; callable from any thread."""
        with self._lock:
            self.held_bytes -= count_bytes

    def overloaded(self, what: str) -> OverloadedError:
        """The error that says ``what``, and when it is worth asking again."""
        return OverloadedError(what, retry_after_s=self._rate.retry_after_s(self.clips))

    def _soon(self) -> int:
        """Bodies that come fast as of now."""
        now_s = time.monotonic()
        return sum(reading.comes_soon(now_s) for reading in self._reading)

    def _too_many_clips(self) -> OverloadedError:
        return self.overloaded(f"{self._places} clips are in the service already")

    def _too_many_bytes(self) -> OverloadedError:
        return self.overloaded(f"requests hold {self.held_bytes} of {self._max_bytes} bytes already")


class Holding:
    """The bytes that one request holds; once closed it takes no more, so that a late thread leaves nothing behind."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._lock = threading.Lock()
        self._began_s = time.monotonic()
        self._bytes = 0
        self._closed = False

    def receive(self, count_bytes: int) -> None:
        """So much more of the body has come; raises OverloadedError."""
        before = self._bytes
        self.add(count_bytes)
        if before < SOON_BYTES <= self._bytes:
            self._admission.expect(self)

    def comes_soon(self, now_s: float) -> bool:
        """Whether the body comes fast, so far."""
        return self._bytes >= _SOON_BYTES_PER_S * (now_s - self._began_s)

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
