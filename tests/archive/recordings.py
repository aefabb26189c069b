"""Recordings with known actions: motions of the demo between stretches in which nothing moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from export.demo.labels import HOLD, LABELS
from export.demo.rendering.clips import render_clip
from export.demo.rendering.scenery import Scenery

FPS = 12
SIZE = (120, 160)
WINDOW_S = 16 / 3


@dataclass(frozen=True)
class Action:
    """``label`` is really seen from ``start_s`` to ``end_s``."""

    start_s: float
    end_s: float
    label: str


def write_recording(path: Path, seed: int, actions: int = 3) -> list[Action]:
    """Write a video of ``actions`` motions, each between two stretches that are still for 3.5 to 4.5 seconds."""
    rng = np.random.default_rng(seed)
    pieces: list[npt.NDArray[np.uint8]] = []
    shown: list[Action] = []
    frames = 0
    for _ in range(actions):
        label = str(rng.choice([each for each in LABELS if each != HOLD]))
        length = round(float(rng.uniform(5.5, 8)) * FPS)
        motion = render_clip(int(rng.integers(2**31)), label, frames=length, size=SIZE, scenery=Scenery.PLAIN).frames
        still = round(float(rng.uniform(3.5, 4.5)) * FPS)
        pieces += [np.repeat(motion[:1], still, 0), motion, np.repeat(motion[-1:], still, 0)]
        shown.append(Action((frames + still) / FPS, (frames + still + length) / FPS, label))
        frames += 2 * still + length
    write_frames(path, np.concatenate(pieces))
    return shown


def write_frames(path: Path, frames: npt.NDArray[np.uint8], fps: int = FPS) -> None:
    """Write uint8 RGB [T, H, W, 3] as H.264."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The temporal intersection over union of two times."""
    both_s = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    return both_s / (one[1] - one[0] + other[1] - other[0] - both_s)
