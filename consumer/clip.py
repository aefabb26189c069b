"""The clip: the frames that the model looks at together, read from a video."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import av

from consumer.picture import Picture, PictureMaker
from consumer.sampling import ROUNDING_S, Sample, sample, windows
from consumer.video import VideoFile

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clip:
    """Pictures of one size that stand for ``start_s`` up to ``end_s`` of the source."""

    pictures: tuple[Picture, ...]
    start_s: float
    end_s: float


def read_clips(video: VideoFile, frames: int, fps: float, short_edge_px: int) -> Iterator[Clip]:
    """Read consecutive clips of ``frames`` pictures, ``fps`` a second, shrunk to ``short_edge_px``.

    Decodes as it is iterated. A video too short for one clip is sampled faster, evenly from its start to its end.
    """
    fps = _fitting_fps(video, frames, fps)
    samples = sample(video.frames(), fps, max_gap_s=frames / fps)
    for window in windows(_pictures(samples, PictureMaker(short_edge_px)), frames, fps):
        yield Clip(window.frames, window.start_s, window.end_s)


def _fitting_fps(video: VideoFile, frames: int, fps: float) -> float:
    enough_s = frames / fps - ROUNDING_S
    length_s = video.length_s(limit_s=enough_s)
    if length_s >= enough_s or length_s <= 0:
        return fps
    fields = {"source": video.path, "length_s": round(length_s, 3), "fps": round(frames / length_s, 3)}
    logger.info("video is shorter than a clip, sampling all of it evenly", extra=fields)
    return frames / length_s


def _pictures(samples: Iterable[Sample[av.VideoFrame]], maker: PictureMaker) -> Iterator[Sample[Picture]]:
    # Converted as soon as picked: sixteen decoded frames kept back would be 50 MB at 1080p and starve the decoder.
    for each in samples:
        yield Sample(each.time_s, maker.make(each.frame), each.starts)
