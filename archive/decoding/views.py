"""The views of a video that published figures are measured with: several clips, each in several crops.

The rule is that of the evaluation of V-JEPA 2 (https://github.com/facebookresearch/vjepa2,
``src/datasets/video_dataset.py`` and ``evals/video_classification_frozen/utils.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import av
import numpy as np
import numpy.typing as npt

from archive.decoding.job import Job, Views
from engines.manifest import Preprocessing
from engines.preprocessing.cpu import crop_frame
from sampling.timeline import Timed
from sampling.windows import Window
from video.picture import Picture, PictureMaker


class Counted(Protocol):
    """A recording whose frames can be counted before they are read."""

    @property
    def frames_per_s(self) -> float: ...

    def count_frames(self) -> int: ...

    def frames(self) -> Iterator[Timed[av.VideoFrame]]: ...


def views_of(job: Job, recording: Counted) -> Iterator[Window[Picture]]:
    """The views of ``job.views``: the crops of the first segment, then those of the next.

    Every crop is a square of the shorter side, at equal distances along the longer one, and becomes uint8
    [crop, crop, 3], RGB. Raises VideoError.
    """
    views = job.views or Views(segments=1, crops=1)
    step = max(1, round(recording.frames_per_s / job.fps))
    segments = segment_frames(recording.count_frames(), job.frames, step, views.segments)
    pictures = _pictures(recording, {int(index) for segment in segments for index in segment}, job.crop)
    if not pictures:
        return
    last = max(pictures)
    for segment in segments:
        # A damaged frame is missing, and the number of packets may differ from that of frames.
        chosen = [pictures.get(int(index)) or pictures[last] for index in segment]
        start_s, end_s = chosen[0][0], chosen[-1][0] + step / recording.frames_per_s
        for crop in range(views.crops):
            squares = [_square(picture, crop, views.crops) for _, picture in chosen]
            yield Window(tuple(_scaled(square, job.crop) for square in squares), start_s, end_s)


def segment_frames(count: int, frames: int, step: int, segments: int) -> list[npt.NDArray[np.int64]]:
    """For each segment the numbers of its ``frames`` frames, int64 [frames], of a video of ``count`` frames.

    The frames of a segment are ``step`` apart. A video that is shorter than that repeats its last frame; segments of a
    video that is too short for all of them overlap.
    """
    length = frames * step
    part = count // segments
    if part > length:
        inside = np.clip(np.linspace(0, length, frames), 0, length - 1).astype(np.int64)
        return [inside + number * part for number in range(segments)]
    last = max(1, min(length, count) - 1)
    spread = np.linspace(0, last, last // step)
    inside = np.clip(np.append(spread, np.full(frames - len(spread), last)), 0, last - 1).astype(np.int64)
    shift = max(0, count - length) // max(1, segments - 1)
    return [inside + number * shift for number in range(segments)]


def _pictures(recording: Counted, wanted: set[int], short_edge_px: int) -> dict[int, tuple[float, Picture]]:
    """Times in seconds and pictures of the ``wanted`` frames, by their numbers."""
    maker = PictureMaker(short_edge_px)
    return {
        number: (frame.time_s, maker.make(frame.frame))
        for number, frame in enumerate(recording.frames())
        if number in wanted
    }


def _square(picture: Picture, number: int, count: int) -> Picture:
    height, width = picture.shape[:2]
    side, longer = min(height, width), max(height, width)
    start = (longer - side) // (count - 1) * number if count > 1 else (longer - side) // 2
    return picture[start : start + side] if height > width else picture[:, start : start + side]


def _scaled(square: Picture, crop: int) -> Picture:
    return np.ascontiguousarray(crop_frame(square, Preprocessing(crop, crop)))
