"""Sampling: which frames of a stream make a clip. Knows times only, never what a frame is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from sampling.timeline import Timed

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


@dataclass(frozen=True, slots=True)
class Shape:
    """``frames`` frames, ``fps`` a second; the next clip begins ``stride`` frames after this one's first."""

    frames: int
    fps: float
    stride: int


def sample(frames: Iterable[Timed[F]], fps: float, max_gap_s: float) -> Iterator[Sample[F]]:
    """Pick the frame nearest to each tick of ``fps`` a second, counted from the first frame.

    Nearest, because rounded time stamps would make "the frame shown then" flip between neighbours. A slow stream
    has frames picked more than once. At a frame that ``starts``, or after ``max_gap_s`` without one, the ticks start
    anew: what stood still that long is a broken stream, not something to classify over and over.
    """
    origin_s, tick = 0.0, 0
    for held in _held(frames, max_gap_s):
        if held.starts:
            origin_s, tick = held.timed.time_s, 0
        while (time_s := origin_s + tick / fps) < held.until_s:
            yield Sample(time_s, held.timed.frame, starts=tick == 0)
            tick += 1


class Windows(Generic[F]):
    """Groups samples into windows of ``shape``; calls ``on_partial`` when it discards frames that made none.

    ``fills_up``: frames that are too few for a window, but all there is, are repeated to make one.
    """

    def __init__(self, shape: Shape, on_partial: Callable[[], None], fills_up: bool) -> None:
        self._shape = shape
        self._on_partial = on_partial
        self._fills_up = fills_up
        self._pending: list[Sample[F]] = []
        self._skip = 0
        # Samples that no window has had yet.
        self._fresh = 0

    def of(self, samples: Iterable[Sample[F]]) -> Iterator[Window[F]]:
        """All windows of the samples, none across a gap."""
        for each in samples:
            if each.starts:
                self.discard()
            if self._skip:
                self._skip -= 1
                continue
            self._pending.append(each)
            self._fresh += 1
            if len(self._pending) == self._shape.frames:
                yield self._take()
        if self._pending and self._fills_up:
            yield self._window()
        else:
            self.discard()

    def _take(self) -> Window[F]:
        window = self._window()
        del self._pending[: self._shape.stride]
        self._skip = max(0, self._shape.stride - self._shape.frames)
        self._fresh = 0
        self._fills_up = False
        return window

    def _window(self) -> Window[F]:
        frames, pending = self._shape.frames, self._pending
        spread = tuple(pending[index * len(pending) // frames].frame for index in range(frames))
        return Window(spread, pending[0].time_s, pending[-1].time_s + 1 / self._shape.fps)

    def discard(self) -> None:
        """Forget the frames of a window that has begun, as what comes next does not go on from them."""
        if self._fresh:
            fields = {
                "start_s": round(self._pending[0].time_s, 3),
                "frames": len(self._pending),
                "needed": self._shape.frames,
            }
            logger.info("partial clip dropped", extra=fields)
            self._on_partial()
        self._pending, self._skip, self._fresh = [], 0, 0


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
            breaks = frame.starts or frame.time_s - last.time_s > max_gap_s
            until_s = _end_s(last, max_gap_s) if breaks else (last.time_s + frame.time_s) / 2
            yield _Held(last, until_s, starts)
            starts = breaks
        last = frame
    if last is not None:
        yield _Held(last, _end_s(last, max_gap_s), starts)


def _end_s(last: Timed[F], max_gap_s: float) -> float:
    lasts_s = min(last.duration_s, max_gap_s)
    return last.time_s + max(lasts_s - ROUNDING_S, lasts_s / 2)
