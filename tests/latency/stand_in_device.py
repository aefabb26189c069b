"""A device that computes nothing but takes its time: one batch at a time, without the CPU, as a GPU would.

Imported by our server's stand-in engine and by every rival's, so it needs numpy only. What it answers depends on the
pixels, so a clip that was decoded wrongly, or swapped with another, is answered wrongly.
"""

from __future__ import annotations

import contextlib
import fcntl
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]

LABELS = tuple(f"stand-in motion {number}" for number in range(16))
FRAMES = 16
MAX_BATCH = 8

# A mark is a block of one colour, which survives JPEG; its levels are further apart than JPEG's errors.
MARK_PIXELS = 16
_LEVEL_STEP = 24
_WEIGHTS = np.array([[1, 2, 3], [5, 7, 11]])


@dataclass(frozen=True)
class Pace:
    """Milliseconds that a batch takes."""

    first_ms: float
    further_ms: float

    def batch_s(self, clips: int) -> float:
        return (self.first_ms + self.further_ms * (clips - 1)) / 1e3


# `edge`: a small GPU, of which a machine with two cores can serve several.
PACES = {"instant": Pace(0, 0), "gpu": Pace(4, 2.5), "edge": Pace(40, 25)}


class StandInDevice:
    """Classifies clips by their marks at ``pace``; all processes of one ``device`` name share it, as they do a GPU."""

    def __init__(self, pace: Pace, device: str) -> None:
        self._pace = pace
        self._thread_lock = threading.Lock()
        self._process_lock = (Path(tempfile.gettempdir()) / f"stand-in-device-{device}.lock").open("w")

    def classify(self, clips: Sequence[Frames]) -> Probabilities:
        """Probabilities, float32 [N, labels], of BGR uint8 clips [T, H, W, 3]; blocks for as long as the pace says."""
        probabilities = np.full((len(clips), len(LABELS)), 0.1 / (len(LABELS) - 1), np.float32)
        probabilities[np.arange(len(clips)), [label_index(clip) for clip in clips]] = 0.9
        if duration_s := self._pace.batch_s(len(clips)):
            with self._alone():
                time.sleep(duration_s)
        return probabilities

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self._thread_lock:
            fcntl.flock(self._process_lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._process_lock, fcntl.LOCK_UN)


def mark(frames: Frames, number: int) -> None:
    """Make ``frames``, BGR uint8 [T, H, W, 3], a clip of their own among others: colours drawn from ``number``."""
    levels = np.random.default_rng(number).integers(0, 10, (2, 3))
    frames[0, :MARK_PIXELS, :MARK_PIXELS] = levels[0] * _LEVEL_STEP
    frames[-1, :MARK_PIXELS, :MARK_PIXELS] = levels[1] * _LEVEL_STEP


def label_index(frames: Frames) -> int:
    """What the device answers to a marked BGR clip: it reads the first and the last frame, in their channels' order."""
    middle = MARK_PIXELS // 2
    pixels = frames[[0, -1], middle, middle].astype(np.int64)
    levels = (pixels + _LEVEL_STEP // 2) // _LEVEL_STEP
    return int((levels * _WEIGHTS).sum()) % len(LABELS)
