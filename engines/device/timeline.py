"""The order in which a device works, seen from the host: marks to measure between, and the wait for the last one."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Protocol

import torch


class Timeline(Protocol):
    """A lane's work, in the order in which it was given."""

    def working(self) -> contextlib.AbstractContextManager[None]:
        """What is given to torch in the block goes to this timeline."""
        ...

    def mark(self, index: int) -> None:
        """Mark number ``index`` is reached when all that was given so far is done."""
        ...

    def follow(self, other: Timeline, index: int) -> None:
        """What is given from here on starts only when mark ``index`` of ``other``, as it was set last, is reached."""
        ...

    def wait(self, index: int) -> None:
        """Sleep, without the GIL and without spinning, until mark ``index`` is reached."""
        ...

    def between_ms(self, first: int, second: int) -> float:
        """Milliseconds between two marks that have been reached."""
        ...


class CpuTimeline:
    """The host itself: everything is done when it returns."""

    def __init__(self, marks: int) -> None:
        self._times_s = [0.0] * marks

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        yield

    def mark(self, index: int) -> None:
        self._times_s[index] = time.perf_counter()

    def follow(self, other: Timeline, index: int) -> None:
        pass

    def wait(self, index: int) -> None:
        pass

    def between_ms(self, first: int, second: int) -> float:
        return (self._times_s[second] - self._times_s[first]) * 1e3


class CudaTimeline:
    """A stream of its own, which does not wait for the default stream nor it for this."""

    def __init__(self, device: torch.device, marks: int) -> None:
        self._device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # Blocking events put the waiting thread to sleep; the default spins on a core.
        self._events = [
            torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]
            for _ in range(marks)
        ]

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        with torch.cuda.device(self._device), torch.cuda.stream(self.stream):
            yield

    def mark(self, index: int) -> None:
        self._events[index].record(self.stream)

    def follow(self, other: Timeline, index: int) -> None:
        if isinstance(other, CudaTimeline):
            self.stream.wait_event(other._events[index])

    def wait(self, index: int) -> None:
        self._events[index].synchronize()

    def between_ms(self, first: int, second: int) -> float:
        return float(self._events[first].elapsed_time(self._events[second]))


def timeline(device: torch.device, marks: int) -> Timeline:
    """A new timeline on ``device`` with room for so many marks."""
    return CudaTimeline(device, marks) if device.type == "cuda" else CpuTimeline(marks)


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
