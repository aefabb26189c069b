"""Sample clips for int8, which measures the range of activations on them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from engines.clip import Clip
from engines.errors import ExportError
from engines.manifest import Preprocessing
from engines.preprocessing.cpu import crop_clip
from export.demo.rendering.clips import render_clip

if TYPE_CHECKING:
    import av.container

# The frame rate at which the consumer samples a video.
_FPS = 3
_SEED = 21_000_000
_RENDERED_SIZE = (240, 320)
_MOST_CLIPS = 40
_HOLD_OUT_EACH = 5
_CURE = "name a video, or a directory that contains only videos"


@dataclass(frozen=True)
class Calibration:
    """Clips of cropped frames, RGB uint8 [T, crop, crop, 3]: for calibration, and held out to measure the loss."""

    learned: tuple[Clip, ...]
    held_out: tuple[Clip, ...]


def calibration(videos: Path | None, frames: int, preprocessing: Preprocessing) -> Calibration:
    """Cut clips of ``frames`` frames from ``videos`` in turn, or render them; every fifth clip is held out.

    Raises:
        ExportError: there is no video, a video cannot be read, or there are fewer than five clips.
    """
    clips = _rendered(frames) if videos is None else _recorded(videos, frames)
    cropped = [Clip(crop_clip(clip.frames, preprocessing), "RGB") for clip in itertools.islice(clips, _MOST_CLIPS)]
    if len(cropped) < _HOLD_OUT_EACH:
        raise ExportError(
            f"--calibration {videos}: {len(cropped)} clips of {frames} frames; {_HOLD_OUT_EACH} are the least",
            help=f"a clip takes {frames / _FPS:.0f} s of video; name more or longer videos",
        )
    held_out = cropped[::_HOLD_OUT_EACH]
    return Calibration(tuple(clip for index, clip in enumerate(cropped) if index % _HOLD_OUT_EACH), tuple(held_out))


def videos_in(path: Path) -> list[Path]:
    """Return ``path`` itself, or the files in that directory; raises ExportError if there are none."""
    found = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    if not found or not all(file.is_file() for file in found):
        raise ExportError(f"--calibration {path}: no videos there", help=_CURE)
    return found


def calibration_digest(path: Path | None) -> tuple[tuple[str, int, int], ...]:
    """Return name, size in bytes and modification time in ns of each video, which show when the videos change."""
    stats = [(file.name, file.stat()) for file in videos_in(path)] if path else []
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _rendered(frames: int) -> Iterator[Clip]:
    for seed in itertools.count(_SEED):
        yield Clip(np.ascontiguousarray(render_clip(seed, frames=frames, size=_RENDERED_SIZE).frames), "RGB")


def _recorded(videos: Path, frames: int) -> Iterator[Clip]:
    """Yield the first clip of each video, then the second of each, so that long videos do not dominate."""
    reading = deque(_clips_of(video, frames) for video in videos_in(videos))
    while reading:
        clips = reading.popleft()
        if (clip := next(clips, None)) is not None:
            reading.append(clips)
            yield clip


def _clips_of(video: Path, frames: int) -> Iterator[Clip]:
    # Here and not above, because an export without videos runs on machines that have no PyAV.
    import av

    try:
        with av.open(video) as container:
            pictures = _sampled(container)
            while len(clip := list(itertools.islice(pictures, frames))) == frames:
                yield Clip(np.stack(clip), "RGB")
    except (av.FFmpegError, IndexError) as error:
        raise ExportError(f"--calibration: {video} cannot be read as a video ({error})", help=_CURE) from None


def _sampled(container: av.container.InputContainer) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield frames at about ``_FPS`` per second, RGB uint8 [H, W, 3]."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    step = max(1, round(float(stream.average_rate or _FPS) / _FPS))
    for frame in itertools.islice(container.decode(stream), 0, None, step):
        yield cast(npt.NDArray[np.uint8], frame.to_ndarray(format="rgb24"))
