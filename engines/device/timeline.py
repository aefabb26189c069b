"""Ordered device work with marks to measure and wait for, and the turn that orders the networks of all lanes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Protocol

import torch

from engines.device.capture_gate import CAPTURES


class Timeline(Protocol):
    """The work of one lane, executed in the order in which it was queued; a mark is reused by the next batch."""

    def working(self) -> contextlib.AbstractContextManager[None]:
        """In the block, torch queues its work on this timeline."""
        ...

    def mark(self, index: int) -> None:
        """Set mark ``index``: it is reached when all work queued so far has finished."""
        ...

    def follow(self, other: Timeline, index: int) -> None:
        """Work queued from now on starts only after the most recently set mark ``index`` of ``other`` is reached."""
        ...

    def wait(self, index: int) -> None:
        """Sleep, without the GIL and without spinning, until mark ``index`` is reached."""
        ...

    def between_ms(self, first: int, second: int) -> float:
        """Milliseconds between two marks; both must have been reached."""
        ...


class CpuTimeline:
    """The host: every call has finished its work when it returns."""

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
    """A separate CUDA stream; it and the default stream do not wait for each other."""

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
    """A new timeline on ``device`` with ``marks`` marks."""
    return CudaTimeline(device, marks) if device.type == "cuda" else CpuTimeline(marks)


class _Order:
    """Networks that run one after another; ``last`` is the mark that ends the most recently queued one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.last: tuple[Timeline, int] | None = None


# Of the engines in service, by device; one for each device of the process, for as long as the process lives.
_ORDERS: dict[torch.device, _Order] = {}


class Turn:
    """Orders the networks of a device's lanes, because concurrent networks would both finish late.

    Lanes that share a turn queue their networks one after another; on CUDA the device waits, not the host thread.
    """

    def __init__(self) -> None:
        self._order = _Order()

    def share(self, device: torch.device) -> None:
        """Take turns with all engines on ``device`` that do so; called while no network runs.

        Not before the engine is warm, because its first runs keep the turn while kernels are compiled and captured.
        """
        self._order = _ORDERS.setdefault(device, _Order())

    @contextlib.contextmanager
    def taken(self, timeline: Timeline, last_mark: int) -> Iterator[None]:
        """Work that the block queues on ``timeline`` starts after the work of the previous turn has finished.

        The block must end by setting mark ``last_mark`` of ``timeline``.
        """
        order = self._order
        with order.lock, CAPTURES.submitting():
            if order.last is not None:
                timeline.follow(*order.last)
            yield
            order.last = timeline, last_mark
