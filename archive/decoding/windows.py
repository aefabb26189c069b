"""Reads the windows of one video file, cropped as the network needs them."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from archive.decoding.job import Job
from archive.decoding.views import views_of
from engines.manifest import Preprocessing
from engines.preprocessing.cpu import crop_frame
from sampling.windows import Sample, Shape, Window, Windows, sample
from video.clipping import Clipping, pictures
from video.errors import NoVideoError, VideoUnreadableError
from video.images import ImageSequence
from video.picture import Picture
from video.recording import HINT, VideoFile, open_recording


def read_windows(job: Job) -> Iterator[tuple[Window[Picture], float | None]]:
    """The windows of ``job`` in their order, and the stated length of the video in seconds, if it has one.

    The frames of a window are uint8 [crop, crop, 3], RGB. A video shorter than a window is sampled faster, evenly from
    start to end. The last window ends with the video and overlaps the one before it as far as needed.

    Raises:
        VideoError: there is no regular file and no directory of that name, or it cannot be read, or contains no frame.
    """
    found = False
    with _opened(job) as recording:
        for window in views_of(job, recording) if job.views else _windows(job, recording):
            found = True
            yield window, recording.stated_length_s
    if not found:
        raise NoVideoError(f"no frame of {job.name} could be decoded", "check that the file is complete")


@contextmanager
def _opened(job: Job) -> Iterator[VideoFile | ImageSequence]:
    path = Path(job.path)
    if path.is_dir():
        yield ImageSequence(path, job.name, job.fps)
        return
    _check_file(job)
    with open_recording(job.path, job.name, job.threads) as recording:
        yield recording


def _windows(job: Job, recording: VideoFile | ImageSequence) -> Iterator[Window[Picture]]:
    whole = Clipping(Shape(job.frames, job.fps, job.stride), job.resize, job.max_gap_s)
    clipping = whole.fitting(job.name, recording)
    shape = clipping.shape
    samples = sample(recording.frames(), shape.fps, clipping.recording_gap_s)
    windows = Windows[Picture](shape, lambda: None, fills_up=True)
    yield from windows.of(_cropped(pictures(samples, clipping.short_edge_px), job))


def _cropped(samples: Iterator[Sample[Picture]], job: Job) -> Iterator[Sample[Picture]]:
    preprocessing = Preprocessing(job.resize, job.crop)
    # The picture of a slow video's frame is sampled several times; it is the same object then.
    last: tuple[Picture, Picture] | None = None
    for each in samples:
        if last is None or last[0] is not each.frame:
            last = each.frame, np.ascontiguousarray(crop_frame(each.frame, preprocessing))
        yield Sample(each.time_s, last[1], each.starts)


def _check_file(job: Job) -> None:
    """Raises VideoUnreadableError. Opening a pipe or a device could wait for ever."""
    try:
        mode = Path(job.path).stat().st_mode
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise VideoUnreadableError(f"cannot read {job.name}: {reason}", HINT) from error
    if not stat.S_ISREG(mode):
        raise VideoUnreadableError(f"cannot read {job.name}: it is not a regular file", HINT)
