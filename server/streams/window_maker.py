"""Gives the frames of one stream their places in time, and groups those that are sampled into windows."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sampling.stream_times import StreamTimes
from sampling.timeline import Timed
from sampling.windows import Sample, Sampler, Shape, Window, Windows
from server.streams.events import Broken
from server.streams.frames import StreamFrame
from server.streams.model_input import ModelInput
from server.streams.options import StreamOptions

# A change of the ratio of the sides by less than this is a rounding of the sender's scaler.
_SAME_ASPECT = 0.01


class WindowMaker:
    """Makes windows for models that take ``takes``; all frames of the stream since its start or the last swap."""

    def __init__(self, options: StreamOptions, takes: ModelInput) -> None:
        self.takes = takes
        self._times = StreamTimes(1 / options.fps, options.max_gap_s)
        self._sampler = Sampler[StreamFrame](options.fps, math.inf)
        shape = Shape(takes.frames, options.fps, options.stride)
        self._windows = Windows[StreamFrame](shape, lambda: None, fills_up=False, log_fields={"stream": options.name})
        self._last: Timed[StreamFrame] | None = None
        self._aspect = 0.0

    def place(self, frame: StreamFrame, size: tuple[int, int]) -> tuple[Timed[StreamFrame], Broken | None]:
        """The place of ``frame``, of that height and width, and the gap before it if there is one."""
        placed = self._times.place(frame.time_s)
        aspect = size[1] / size[0]
        resized = abs(aspect - self._aspect) > _SAME_ASPECT * aspect
        timed = Timed(placed.time_s, placed.duration_s, frame, placed.starts or resized)
        last, self._last, self._aspect = self._last, timed, aspect
        if last is None or not timed.starts:
            return timed, None
        return timed, Broken(last.time_s, timed.time_s, "time" if placed.starts else "size")

    def push(self, timed: Timed[StreamFrame]) -> Iterator[tuple[StreamFrame, Window[StreamFrame] | None]]:
        """Each frame that ``timed`` decides to sample, and the window that it completes, if any."""
        return self._grouped(self._sampler.push(timed))

    def end(self) -> Iterator[tuple[StreamFrame, Window[StreamFrame] | None]]:
        """The samples of the last frame, after which none comes, and the windows that they complete."""
        return self._grouped(self._sampler.end())

    def _grouped(self, samples: list[Sample[StreamFrame]]) -> Iterator[tuple[StreamFrame, Window[StreamFrame] | None]]:
        for sample in samples:
            yield sample.frame, self._windows.push(sample)
