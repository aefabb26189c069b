"""Bounds what the service holds at once: the number of clips, and the bytes of bodies and pixels."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from server.errors import OverloadedError
from server.limits.throughput import Throughput

# A body counts as a clip as soon as this many of its bytes have arrived, if they arrived at least this fast.
SOON_BYTES = 64 * 2**10
_SOON_BYTES_PER_S = 2**20
# Requests of low priority get at most the slots divided by this, so that they cannot displace all others.
_LOW_PRIORITY_DIVISOR = 4


class Slots:
    """The clips of one model from the end of their body to their answer: ``clips`` of at most ``most``.

    Invariant: belongs to the event loop.
    """

    def __init__(self, most: int, throughput: Throughput) -> None:
        self.most = most
        self.clips = 0
        self._throughput = throughput

    def check(self, more: int = 1) -> None:
        """Raises OverloadedError unless there is room for ``more`` clips."""
        if self.clips + more > self.most:
            raise self.overloaded(self._full(more))

    def overloaded(self, reason: str) -> OverloadedError:
        """The error for clients, who should come again when the clips of now are classified."""
        return OverloadedError(reason, retry_after_s=self._throughput.retry_after_s(self.clips))

    def _full(self, more: int) -> str:
        if more > 1:
            return f"{self.clips} of {self.most} clips are in the service already, {more} more are too many"
        return f"{self.most} clips are in the service already"


class Admission:
    """``slots`` bounds clips of each model; ``max_bytes`` bounds the memory of all requests together.

    A body that arrives fast reserves a slot, so that the service reads only as many bodies of a burst as it can serve.
    A body that arrives slowly reserves none, so that slow clients do not displace others.

    Invariants: ``clips`` is the number of slots in use, of all models, and is changed by the event loop only. ``total``
    is the number of slots of all models. ``held_bytes`` is the sum
    over all open ``RequestMemory`` and is changed under the lock, because decode threads change it too. ``_reading``
    belongs to the event loop; a request is in it only while its body is read. ``_low_priority`` counts requests of low
    priority from their header to their answer, and belongs to the event loop.
    """

    def __init__(self, slots: int, max_bytes: int) -> None:
        self.slots_of_a_model = slots
        self._max_bytes = max_bytes
        self.clips = 0
        self.total = 0
        self.held_bytes = 0
        self._low_priority = 0
        self._lock = threading.Lock()
        self._reading: set[RequestMemory] = set()
        self._throughput = Throughput()

    def of_model(self, throughput: Throughput) -> Slots:
        """The slots of one more model, which classifies clips at the speed of ``throughput``."""
        if not self.total:
            self._throughput = throughput
        self.total += self.slots_of_a_model
        return Slots(self.slots_of_a_model, throughput)

    def check(self, announced_bytes: int, slots: Slots | None = None) -> None:
        """Raises OverloadedError if a body of ``announced_bytes``, none of which has arrived, would be refused now.

        ``slots``: those of the model that it is for, where that is known already.
        """
        if slots is not None:
            slots.check()
        self.check_slot()
        if self.held_bytes + announced_bytes > self._max_bytes:
            raise self._too_many_bytes()

    def check_slot(self, clips: int = 1) -> None:
        """Raises OverloadedError unless ``clips`` slots are neither in use nor reserved by fast bodies."""
        now_s = time.monotonic()
        reserved = sum(reading.clips for reading in self._reading if reading.arrives_fast(now_s))
        if self.clips + reserved + clips > self.total:
            raise self._overloaded(f"{self.total} clips are in the service already")

    @contextlib.contextmanager
    def slot(self, slots: Slots, clips: int = 1) -> Iterator[None]:
        """Take a slot of ``slots`` for each of ``clips`` in the block; raises OverloadedError unless all are free."""
        slots.check(clips)
        slots.clips += clips
        self.clips += clips
        try:
            yield
        finally:
            slots.clips -= clips
            self.clips -= clips

    @contextlib.contextmanager
    def low_priority(self) -> Iterator[None]:
        """Count a request of low priority while the block runs; raises OverloadedError if there are too many."""
        most = max(1, self.slots_of_a_model // _LOW_PRIORITY_DIVISOR)
        if self._low_priority >= most:
            raise self._overloaded(f"{most} requests of low priority are in the service already")
        self._low_priority += 1
        try:
            yield
        finally:
            self._low_priority -= 1

    @contextlib.contextmanager
    def request_memory(self) -> Iterator[RequestMemory]:
        """The account of one request's bytes; all of them are given back when the block ends."""
        memory = RequestMemory(self)
        try:
            yield memory
        finally:
            memory.close()

    def expect(self, memory: RequestMemory) -> None:
        """Reserve slots for ``memory`` while its body arrives fast; raises OverloadedError unless all are left."""
        self._reading.discard(memory)
        self.check_slot(memory.clips)
        self._reading.add(memory)

    def expects(self, memory: RequestMemory) -> bool:
        """Whether slots are reserved for ``memory``."""
        return memory in self._reading

    def has_read(self, memory: RequestMemory) -> None:
        """End the reservation of ``memory``, because its body has been read or given up."""
        self._reading.discard(memory)

    def take(self, count_bytes: int) -> None:
        """Hold ``count_bytes`` more; raises OverloadedError if the sum would be too large; callable in any thread."""
        with self._lock:
            if self.held_bytes + count_bytes > self._max_bytes:
                raise self._too_many_bytes()
            self.held_bytes += count_bytes

    def give_back(self, count_bytes: int) -> None:
        """Undo ``take``; callable in any thread."""
        with self._lock:
            self.held_bytes -= count_bytes

    def _too_many_bytes(self) -> OverloadedError:
        return self._overloaded(f"requests hold {self.held_bytes} of {self._max_bytes} bytes already")

    def _overloaded(self, reason: str) -> OverloadedError:
        return OverloadedError(reason, retry_after_s=self._throughput.retry_after_s(self.clips))


class RequestMemory:
    """The bytes that one request holds; ``clips``: how many clips its body is known to hold.

    Invariants: ``_bytes`` is changed under the lock, because decode threads change it too. After ``close`` it is 0 and
    stays 0.
    """

    def __init__(self, admission: Admission) -> None:
        self.clips = 1
        self._admission = admission
        self._lock = threading.Lock()
        self._began_s = time.monotonic()
        self._bytes = 0
        self._closed = False

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Marks the block that reads the request's body; a reservation ends with it."""
        try:
            yield
        finally:
            self._admission.has_read(self)

    def receive(self, count_bytes: int) -> None:
        """Hold ``count_bytes`` more of the body, which have arrived; raises OverloadedError."""
        before = self._bytes
        self.add(count_bytes)
        if before < SOON_BYTES <= self._bytes:
            self._admission.expect(self)

    def count_clips(self, clips: int) -> None:
        """The body holds ``clips``; raises OverloadedError unless there are slots for all of them."""
        self.clips = clips
        if self._admission.expects(self):
            self._admission.expect(self)
        else:
            self._admission.check_slot(clips)

    def arrives_fast(self, now_s: float) -> bool:
        """Whether the body has arrived fast so far; ``now_s`` is a time of ``time.monotonic``."""
        return self._bytes >= _SOON_BYTES_PER_S * (now_s - self._began_s)

    def add(self, count_bytes: int) -> None:
        """Hold ``count_bytes`` more; raises OverloadedError; callable in any thread."""
        with self._lock:
            if not self._closed:
                self._admission.take(count_bytes)
                self._bytes += count_bytes

    def drop(self, count_bytes: int) -> None:
        """Give back ``count_bytes``; callable in any thread."""
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
