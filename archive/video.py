"""A video of an archive, and what is found out about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from archive.errors import ArchiveError
from video.errors import VideoError


@dataclass(frozen=True, slots=True)
class Video:
    """``name`` is what the user calls it; ``fetch()`` gives the path of a local file, or raises VideoError.

    ``release()`` is called when the local file is not needed any more. ``key`` names its results in a directory.
    """

    name: str
    fetch: Callable[[], str]
    release: Callable[[], None] = lambda: None
    key: str = ""


def local_video(path: str) -> Video:
    """The video in a local file."""
    return Video(path, lambda: path)


@dataclass(frozen=True, slots=True)
class WindowScores:
    """The classes of the time from ``start_s`` to ``end_s`` (excluded) of a video, in seconds.

    ``scores``: float32 [labels], the probabilities in the order of ``manifest.labels``. ``features``: float32 [F], if
    they were asked for. ``changes``: how much the
    picture changes from each frame of the window to the next (``archive.decoding.changes``); empty where it is not
    known. ``of_s`` is the length of the video as its container states it, if it does.
    """

    start_s: float
    end_s: float
    scores: npt.NDArray[np.float32]
    changes: tuple[float, ...] = ()
    of_s: float | None = None
    features: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """A window of ``video`` was classified; those of one video come in the order of their times."""

    video: Video
    window: WindowScores


@dataclass(frozen=True, slots=True)
class Ended:
    """``video`` has ended and all of its windows were given, or it failed with ``error``."""

    video: Video
    error: VideoError | ArchiveError | None
