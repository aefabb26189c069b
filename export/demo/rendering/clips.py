"""Renders short clips of one motion each from a seed; needs only numpy and OpenCV."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.demo.labels import LABELS
from export.demo.rendering import camera_effects as footage
from export.demo.rendering import curves, motions, scene, shapes
from export.demo.rendering.scenery import Scenery

# How far a resting scene drifts, relative to LIVELY.
_DRIFT = {Scenery.PLAIN: 1.0, Scenery.CALM: 0.5, Scenery.LIVELY: 1.0, Scenery.RESTLESS: 2.0}
# The least final size of an approached object, in short edges of the frame.
_NEAREST = {Scenery.PLAIN: 0.35, Scenery.CALM: 0.3, Scenery.LIVELY: 0.35, Scenery.RESTLESS: 0.25}
_ASPECT_RATIOS = (1.0, 4 / 3, 4 / 3, 3 / 2, 16 / 9, 16 / 9, 3 / 4, 9 / 16)


@dataclass(frozen=True)
class Clip:
    """Frames, uint8 RGB [T, H, W, 3], and the Something-Something v2 label of their motion."""

    frames: npt.NDArray[np.uint8]
    label: str


def _random_size(rng: np.random.Generator) -> tuple[int, int]:
    """Draw height and width: mostly small frames, long edges of 100 to 1000 px, mostly usual aspect ratios."""
    ratio = float(rng.choice(_ASPECT_RATIOS)) if rng.random() < 0.8 else float(np.exp(rng.uniform(-0.7, 0.7)))
    long_edge = 100 * 10 ** (rng.random() ** 2.2)
    short = max(64, round(long_edge * min(ratio, 1 / ratio)))
    long = max(short, round(long_edge))
    return (short, long) if ratio >= 1 else (long, short)


def render_clip(
    seed: int,
    label: str | None = None,
    *,
    frames: int = 16,
    size: tuple[int, int] | None = None,
    scenery: Scenery = Scenery.CALM,
) -> Clip:
    """Render the clip of ``seed`` with ``frames`` frames spread evenly over one motion.

    ``label`` is one of ``LABELS``, ``size`` is height and width in pixels (at least 16 each); None draws it at random.
    More frames sample the same motion more finely. Raises ValueError for an unknown label, no frames, or too
    small a size.
    """
    rng = np.random.default_rng(seed)
    label = str(rng.choice(LABELS)) if label is None else label
    if label not in LABELS:
        raise ValueError(f"unknown label {label!r}: expected one of {', '.join(LABELS)}")
    height, width = _random_size(rng) if size is None else size
    if frames < 1 or min(height, width) < 16:
        raise ValueError(f"cannot render {frames} frames of {height}x{width}: at least 1 frame of 16x16 is needed")
    times = curves.stuttered(rng, np.linspace(0.0, 1.0, frames))
    view = motions.View(
        width / (2 * min(height, width)),
        height / (2 * min(height, width)),
        drift=_DRIFT[scenery],
        nearest=_NEAREST[scenery],
    )
    film = _film(rng, motions.sample(rng, label, times, view), height, width, scenery)
    return Clip(film if scenery == Scenery.PLAIN else footage.record(rng, film), label)


def _film(
    rng: np.random.Generator, motion: motions.Motion, height: int, width: int, scenery: Scenery
) -> npt.NDArray[np.uint8]:
    """Draw every frame of ``motion``; returns uint8 RGB [T, H, W, 3]."""
    behind = scene.Footage(rng, motion, height, width, scenery)
    actors = scene.bystanders(rng, motion, scenery) if scenery != Scenery.PLAIN else []
    if motion.present:
        side = int(np.clip(motion.size.max() * min(height, width), 24, 200))
        painted = shapes.sprite(rng, side, scene.BUSY[scenery])
        contrast = 80.0 if scenery == Scenery.PLAIN else rng.uniform(28.0, 80.0)
        sprite = shapes.stand_out(painted, behind.colour(), contrast)
        actors.append(scene.Actor(sprite, motion.position, motion.size, motion.tilt))
    drawn = []
    for frame in range(len(motion.zoom)):
        image = behind.draw(frame)
        for actor in actors:
            scene.paste(image, actor, frame)
        drawn.append(image)
    return np.stack(drawn)
