"""Reads clips from a video: the frames that the model classifies together."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import av

from consumer.client.encodings import Picture
from consumer.errors import SourceError, SourceStoppedError
from consumer.sources.picture import PictureMaker
from consumer.sources.source import Source
from consumer.sources.video import Recording
from sampling.timeline import Timed
from sampling.windows import ROUNDING_S, Sample, Shape, Windows, sample

logger = logging.getLogger(__name__)

Frames = Iterator[Timed[av.VideoFrame]]


@dataclass(frozen=True, slots=True)
class Clip:
    """Pictures of one size for the time from ``start_s`` to ``end_s``: of a recording, or Unix time if live.

    ``of_s`` is the length of the recording in seconds, if it is known.
    """

    pictures: tuple[Picture, ...]
    start_s: float
    end_s: float
    of_s: float | None = None

    def earlier(self, seconds: float) -> Clip:
        """The same clip with its times moved back by ``seconds``."""
        return replace(self, start_s=self.start_s - seconds, end_s=self.end_s - seconds)


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


def read_clips(source: Source, video: Recording, clipping: Clipping, on_partial: Callable[[], None]) -> Iterator[Clip]:
    """Read the clips of a recording lazily.

    A video shorter than one clip is sampled faster, evenly from start to end. The last clip ends with the video and
    overlaps the one before it as far as needed. Frames before a gap that do not fill a clip are discarded with a call
    of ``on_partial``.
    """
    clipping = replace(clipping, shape=_fitting(source, video, clipping.shape))
    # A recording may have a longer gap than a live source: the scene was still, the stream was not broken.
    whole_clip_s = clipping.shape.frames / clipping.shape.fps
    max_gap_s = whole_clip_s if clipping.max_gap_s is None else clipping.max_gap_s
    windows = Windows[Picture](clipping.shape, on_partial, fills_up=True)
    for clip in _clips(video.frames(), clipping, max_gap_s, windows):
        yield replace(clip, of_s=video.stated_length_s)


def read_live_clips(frames: Frames, clipping: Clipping, on_partial: Callable[[], None]) -> Iterator[Clip]:
    """Read clips from the frames of one connection to a live source; ``frame.starts`` marks the gaps."""
    yield from _clips(frames, clipping, math.inf, Windows(clipping.shape, on_partial, fills_up=False))


def _clips(frames: Frames, clipping: Clipping, max_gap_s: float, windows: Windows[Picture]) -> Iterator[Clip]:
    samples = sample(frames, clipping.shape.fps, max_gap_s)
    try:
        for window in windows.of(_pictures(samples, PictureMaker(clipping.short_edge_px))):
            yield Clip(window.frames, window.start_s, window.end_s)
    except SourceStoppedError:
        raise
    except SourceError:
        windows.discard()
        raise


def _fitting(source: Source, video: Recording, shape: Shape) -> Shape:
    enough_s = shape.frames / shape.fps - ROUNDING_S
    length_s = video.length_s(limit_s=enough_s)
    if length_s >= enough_s or length_s <= 0:
        return shape
    fps = shape.frames / length_s
    fields = {"source": source.name, "length_s": round(length_s, 3), "fps": round(fps, 3)}
    logger.info("video is shorter than a clip, sampling all of it evenly", extra=fields)
    return replace(shape, fps=fps)


def _pictures(samples: Iterable[Sample[av.VideoFrame]], maker: PictureMaker) -> Iterator[Sample[Picture]]:
    # Converted as soon as sampled: sixteen decoded frames of 1080p would hold 50 MB of the decoder's buffers.
    for each in samples:
        yield Sample(each.time_s, maker.make(each.frame), each.starts)
