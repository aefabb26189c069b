"""How clips are cut out of a recording: their shape, which fits short recordings, and their pictures."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import av

from sampling.windows import ROUNDING_S, Sample, Shape
from video.picture import Picture, PictureMaker

logger = logging.getLogger(__name__)


class Measured(Protocol):
    """A recording whose length can be found before it is read."""

    def length_s(self, limit_s: float) -> float:
        """The length in seconds, but at most ``limit_s``."""
        ...


@dataclass(frozen=True, slots=True)
class Clipping:
    """How clips are cut: their shape, and the short edge in pixels to which frames are shrunk (0: not at all).

    A gap of more than ``max_gap_s`` seconds discards the current clip; ``None`` uses the default of the source.
    """

    shape: Shape
    short_edge_px: int
    max_gap_s: float | None = None

    @property
    def live_gap_s(self) -> float:
        """``max_gap_s`` for live sources; the default is just long enough that each tick has its own frame."""
        return max(1.5 / self.shape.fps, 0.5) if self.max_gap_s is None else self.max_gap_s

    @property
    def recording_gap_s(self) -> float:
        """``max_gap_s`` for recordings; the default is the length of a clip.

        A recording may have a longer gap than a live source: the scene was still, the stream was not broken.
        """
        return self.shape.frames / self.shape.fps if self.max_gap_s is None else self.max_gap_s

    def fitting(self, name: str, recording: Measured) -> Clipping:
        """For a recording that is shorter than a clip, a rate that samples it evenly from start to end."""
        shape = self.shape
        enough_s = shape.frames / shape.fps - ROUNDING_S
        length_s = recording.length_s(limit_s=enough_s)
        if length_s >= enough_s or length_s <= 0:
            return self
        fps = shape.frames / length_s
        fields = {"source": name, "length_s": round(length_s, 3), "fps": round(fps, 3)}
        logger.info("video is shorter than a clip, sampling all of it evenly", extra=fields)
        return replace(self, shape=replace(shape, fps=fps))


def pictures(samples: Iterable[Sample[av.VideoFrame]], short_edge_px: int) -> Iterator[Sample[Picture]]:
    """The samples with their frames as pictures; see PictureMaker."""
    # Converted as soon as sampled: sixteen decoded frames of 1080p would hold 50 MB of the decoder's buffers.
    maker = PictureMaker(short_edge_px)
    for each in samples:
        yield Sample(each.time_s, maker.make(each.frame), each.starts)
