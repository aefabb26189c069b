"""Samples frames by time and groups them into windows; works with any type of frame."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from sampling.timeline import Timed

F = TypeVar("F")

logger = logging.getLogger(__name__)

# Tolerance for time stamps and durations, which containers round to ticks of up to a millisecond.
ROUNDING_S = 5e-3


@dataclass(frozen=True, slots=True)
class Sample(Generic[F]):
    """The frame nearest to ``time_s``; ``starts`` marks the first sample after a break in the stream."""

    time_s: float
    frame: F
    starts: bool


@dataclass(frozen=True, slots=True)
class Window(Generic[F]):
    """The sampled frames of one clip; they cover the time from ``start_s`` to ``end_s`` (excluded)."""

    frames: tuple[F, ...]
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Shape:
    """A clip has ``frames`` frames at ``fps`` per second; the next clip begins ``stride`` frames later."""

    frames: int
    fps: float
    stride: int


class Sampler(Generic[F]):
    """Chooses the nearest frame for each of ``fps`` ticks per second, counted from the first frame.

    The nearest frame does not depend on how time stamps are rounded, unlike the frame shown at the tick. A frame of a
    slow stream may be sampled several times. After ``max_gap_s`` seconds without a frame, or at a frame that
    ``starts``, the ticks start again: such a stream is broken, so its last frame must not be repeated.

    A tick is decided as soon as a frame comes that is at most ``ROUNDING_S`` before it. So a stream that is already
    sampled at ``fps`` is not delayed; only a frame that follows within twice that time could have been nearer.
    """

    def __init__(self, fps: float, max_gap_s: float) -> None:
        self._fps = fps
        self._max_gap_s = max_gap_s
        self._last: Timed[F] | None = None
        self._origin_s = 0.0
        self._tick = 0

    def push(self, frame: Timed[F]) -> list[Sample[F]]:
        """The samples that the next frame decides, in their order."""
        last, self._last = self._last, frame
        samples: list[Sample[F]] = []
        breaks = last is None or frame.starts or frame.time_s - last.time_s > self._max_gap_s
        if last is not None:
            until_s = _end_s(last, self._max_gap_s) if breaks else (last.time_s + frame.time_s) / 2
            samples += self._take(last, until_s)
        if breaks:
            self._origin_s, self._tick = frame.time_s, 0
        return [*samples, *self._take(frame, frame.time_s + ROUNDING_S)]

    def end(self) -> list[Sample[F]]:
        """The samples of the last frame, after which none comes."""
        last, self._last = self._last, None
        return self._take(last, _end_s(last, self._max_gap_s)) if last is not None else []

    def _take(self, frame: Timed[F], until_s: float) -> list[Sample[F]]:
        samples = []
        while (time_s := self._origin_s + self._tick / self._fps) < until_s:
            samples.append(Sample(time_s, frame.frame, starts=self._tick == 0))
            self._tick += 1
        return samples


def sample(frames: Iterable[Timed[F]], fps: float, max_gap_s: float) -> Iterator[Sample[F]]:
    """Yield the samples of all ``frames``; see ``Sampler``."""
    sampler = Sampler[F](fps, max_gap_s)
    for frame in frames:
        yield from sampler.push(frame)
    yield from sampler.end()


class Windows(Generic[F]):
    """Groups samples into windows of ``shape``; calls ``on_partial`` when frames that did not fill one are discarded.

    With ``fills_up``, the stream is covered to its last sample: the last window ends there and overlaps the one before
    it as far as needed. If fewer samples than a window has follow the start or the last break, they are repeated.
    ``log_fields`` say in the log which stream it is.
    """

    def __init__(
        self,
        shape: Shape,
        on_partial: Callable[[], None],
        fills_up: bool,
        log_fields: Mapping[str, str] | None = None,
    ) -> None:
        self._shape = shape
        self._log_fields = log_fields or {}
        self._on_partial = on_partial
        self._fills_up = fills_up
        self._pending: list[Sample[F]] = []
        self._skip = 0
        # The number of pending samples that have not been part of a window.
        self._unused = 0

    def of(self, samples: Iterable[Sample[F]]) -> Iterator[Window[F]]:
        """Yield the windows of the samples; no window contains a break."""
        latest: deque[Sample[F]] = deque(maxlen=self._shape.frames if self._fills_up else 0)
        window = None
        for each in samples:
            if each.starts:
                latest.clear()
            latest.append(each)
            if (window := self.push(each)) is not None:
                yield window
        # The last sample has been seen exactly if it completed a window.
        if latest and window is None:
            yield self._window(list(latest))
        else:
            self.discard()

    def push(self, sample: Sample[F]) -> Window[F] | None:
        """The window that ``sample`` completes, if any."""
        if sample.starts:
            self.discard()
        if self._skip:
            self._skip -= 1
            return None
        self._pending.append(sample)
        self._unused += 1
        return self._take() if len(self._pending) == self._shape.frames else None

    @property
    def pending(self) -> tuple[F, ...]:
        """The frames so far of the next window."""
        return tuple(each.frame for each in self._pending)

    def _take(self) -> Window[F]:
        window = self._window(self._pending)
        del self._pending[: self._shape.stride]
        self._skip = max(0, self._shape.stride - self._shape.frames)
        self._unused = 0
        return window

    def _window(self, samples: list[Sample[F]]) -> Window[F]:
        frames = self._shape.frames
        spread = tuple(samples[index * len(samples) // frames].frame for index in range(frames))
        return Window(spread, samples[0].time_s, samples[-1].time_s + 1 / self._shape.fps)

    def discard(self) -> None:
        """Discard the pending frames, because the next frames do not continue them."""
        if self._unused:
            fields = {
                **self._log_fields,
                "start_s": round(self._pending[0].time_s, 3),
                "frames": len(self._pending),
                "needed": self._shape.frames,
            }
            logger.info("partial clip dropped", extra=fields)
            self._on_partial()
        self._pending, self._skip, self._unused = [], 0, 0


def _end_s(last: Timed[F], max_gap_s: float) -> float:
    lasts_s = min(last.duration_s, max_gap_s)
    return last.time_s + max(lasts_s - ROUNDING_S, lasts_s / 2)
