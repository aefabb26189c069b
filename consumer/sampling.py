"""Sampling: which frames of a stream make a clip. Knows times only, never what a frame is."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from consumer.timeline import Timed

F = TypeVar("F")

logger = logging.getLogger(__name__)

# Time stamps and durations are rounded to their container's ticks, of a millisecond at worst.
ROUNDING_S = 5e-3


@dataclass(frozen=True, slots=True)
class Sample(Generic[F]):
    """The frame that stands for the instant ``time_s``; ``starts`` marks the first one after a gap in the stream."""

    time_s: float
    frame: F
    starts: bool


@dataclass(frozen=True, slots=True)
class Window(Generic[F]):
    """As many sampled frames as the model takes; they stand for ``start_s`` up to ``end_s`` (excluded)."""

    frames: tuple[F, ...]
    start_s: float
    end_s: float


def sample(frames: Iterable[Timed[F]], fps: float, max_gap_s: float) -> Iterator[Sample[F]]:
    """Pick the frame nearest to each tick of ``fps`` a second, counted from the first frame.

    Nearest, because rounded time stamps would make "the frame shown then" flip between neighbours. A slow stream
    has frames picked more than once. After ``max_gap_s`` without a frame the ticks start anew at the next one: what
    stood still that long is a broken stream, not something to classify over and over.
    """
    origin_s, tick = 0.0, 0
    for held in _held(frames, max_gap_s):
        if held.starts:
            origin_s, tick = held.timed.time_s, 0
        while (time_s := origin_s + tick / fps) < held.until_s:
            yield Sample(time_s, held.timed.frame, starts=tick == 0)
            tick += 1


def windows(samples: Iterable[Sample[F]], frames: int, fps: float) -> Iterator[Window[F]]:
    """Group samples, taken ``fps`` a second, into consecutive windows of ``frames`` each.

    What does not fill a window is dropped with a log line, unless it is all there is: then its frames are repeated.
    """
    pending: list[Sample[F]] = []
    nothing_yet = True
    for each in samples:
        if each.starts:
            _log_dropped(pending, frames)
            pending = []
        pending.append(each)
        if len(pending) == frames:
            yield _window(pending, frames, fps)
            pending, nothing_yet = [], False
    if pending and nothing_yet:
        yield _window(pending, frames, fps)
    else:
        _log_dropped(pending, frames)


def _window(pending: list[Sample[F]], frames: int, fps: float) -> Window[F]:
    spread = tuple(pending[index * len(pending) // frames].frame for index in range(frames))
    return Window(spread, pending[0].time_s, pending[-1].time_s + 1 / fps)


def _log_dropped(pending: list[Sample[F]], frames: int) -> None:
    if pending:
        fields = {"start_s": round(pending[0].time_s, 3), "frames": len(pending), "needed": frames}
        logger.info("partial clip dropped", extra=fields)


@dataclass(frozen=True, slots=True)
class _Held(Generic[F]):
    """A frame that is the nearest one until ``until_s`` (excluded); ``starts`` as in Sample."""

    timed: Timed[F]
    until_s: float
    starts: bool


def _held(frames: Iterable[Timed[F]], max_gap_s: float) -> Iterator[_Held[F]]:
    starts, last = True, None
    for frame in frames:
        if last is not None:
            breaks = frame.time_s - last.time_s > max_gap_s
            until_s = _end_s(last, max_gap_s) if breaks else (last.time_s + frame.time_s) / 2
            yield _Held(last, until_s, starts)
            starts = breaks
        last = frame
    if last is not None:
        yield _Held(last, _end_s(last, max_gap_s), starts)


def _end_s(last: Timed[F], max_gap_s: float) -> float:
    lasts_s = min(last.duration_s, max_gap_s)
    return last.time_s + max(lasts_s - ROUNDING_S, lasts_s / 2)
