"""Clips of motions that the demo was not trained on, and of scenes in which nothing of the kind happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.demo.rendering import scene, shapes
from export.demo.rendering.curves import Curve, tremor
from export.demo.rendering.motions import Motion
from export.demo.rendering.scenery import Scenery
from tests.archive.recordings import write_frames

Frames = npt.NDArray[np.uint8]
# Position [T, 2], growth [T] and tilt [T].
Shown = tuple[Curve, Curve, Curve]

FPS = 12
SECONDS = 5
SIZE = (96, 128)


def _turns(rng: np.random.Generator, times: Curve, low: float, high: float) -> Curve:
    """An angle that makes ``low`` to ``high`` turns over the clip, from about 0."""
    return np.asarray(2 * np.pi * (rng.uniform(low, high) * times + rng.uniform(-0.06, 0.06)))


def _at(rng: np.random.Generator, x: Curve, y: Curve) -> Curve:
    place = rng.uniform(-0.1, 0.1, 2)
    return np.stack([x + place[0], y + place[1]], axis=1)


def _circle(rng: np.random.Generator, times: Curve) -> Shown:
    angle, radius = _turns(rng, times, 0.9, 1.4), rng.uniform(0.2, 0.32)
    return _at(rng, radius * np.sin(angle), -radius * np.cos(angle)), 1 + 0 * times, 0 * times


def _zigzag(rng: np.random.Generator, times: Curve) -> Shown:
    across = rng.uniform(0.18, 0.28) * 2 / np.pi * np.arcsin(np.sin(_turns(rng, times, 1.4, 2.1)))
    return _at(rng, rng.uniform(0.5, 0.75) * (times - 0.5), across), 1 + 0 * times, 0 * times


def _swing(rng: np.random.Generator, times: Curve) -> Shown:
    angle = rng.uniform(0.7, 1.0) * np.cos(_turns(rng, times, 0.9, 1.5))
    rope = rng.uniform(0.35, 0.5)
    return _at(rng, rope * np.sin(angle), rope * (np.cos(angle) - 0.85)), 1 + 0 * times, -angle


def _pulse(rng: np.random.Generator, times: Curve) -> Shown:
    growth = np.exp(rng.uniform(0.5, 0.8) * np.sin(_turns(rng, times, 0.9, 1.6)))
    return _at(rng, 0 * times, 0 * times), 1.2 * growth, 0 * times


def _spin(rng: np.random.Generator, times: Curve) -> Shown:
    return _at(rng, 0 * times, 0 * times), 1.6 + 0 * times, _turns(rng, times, 0.5, 1.2)


def _bounce(rng: np.random.Generator, times: Curve) -> Shown:
    height = rng.uniform(0.4, 0.55) * np.abs(np.sin(_turns(rng, times, 0.9, 1.2)))
    return _at(rng, 0 * times, 0.2 - height), 1 + 0 * times, 0 * times


def _still(rng: np.random.Generator, times: Curve) -> Shown:
    return _at(rng, 0 * times, 0 * times), 1 + 0 * times, 0 * times


def _there_and_back(rng: np.random.Generator, times: Curve) -> Shown:
    along = rng.uniform(0.5, 0.75) * (0.5 - np.abs(2 * times - 1))
    return _at(rng, along, 0 * times), 1 + 0 * times, 0 * times


def _shake(rng: np.random.Generator, times: Curve) -> Shown:
    along = rng.uniform(0.08, 0.14) * np.sin(_turns(rng, times, 2.5, 4.0))
    return _at(rng, along, 0 * times), 1 + 0 * times, 0 * times


def _vanish(rng: np.random.Generator, times: Curve) -> Shown:
    left = np.where(times < rng.uniform(0.35, 0.65), 1.0, 0.02)
    return _at(rng, 0 * times, 0 * times), left, 0 * times


def _climb(rng: np.random.Generator, times: Curve) -> Shown:
    along = rng.uniform(0.55, 0.8) * (times - 0.5)
    return _at(rng, along, -along), 1 + 0 * times, 0 * times


_ACTIONS: dict[str, Callable[[np.random.Generator, Curve], Shown]] = {
    "circle": _circle,
    "zigzag": _zigzag,
    "pulse": _pulse,
    "vanish": _vanish,
    "there and back": _there_and_back,
    "climb": _climb,
}
_STRANGERS: dict[str, Callable[[np.random.Generator, Curve], Shown]] = {
    "swing": _swing,
    "spin": _spin,
    "bounce": _bounce,
    "shake": _shake,
    "still": _still,
}
ACTIONS = tuple(_ACTIONS)
STRANGERS = tuple(_STRANGERS)
BACKGROUND = ("empty", "handheld", "furniture")


def film(name: str, seed: int, frames: int = FPS * SECONDS) -> Frames:
    """A clip of the motion or background ``name``, uint8 RGB [frames, 96, 128, 3]."""
    rng = np.random.default_rng((seed, *name.encode()))
    times = np.linspace(0.0, 1.0, frames)
    motion = _background(rng, name, times) if name in BACKGROUND else _motion(rng, name, times)
    height, width = SIZE
    behind = scene.Footage(rng, motion, height, width, Scenery.CALM)
    actors = scene.bystanders(rng, motion, Scenery.LIVELY if name == "furniture" else Scenery.CALM)
    if motion.present:
        painted = shapes.sprite(rng, int(np.clip(motion.size.max() * height, 24, 200)), 0.85)
        sprite = shapes.stand_out(painted, behind.colour(), rng.uniform(40.0, 90.0))
        actors.append(scene.Actor(sprite, motion.position, motion.size, motion.tilt))
    drawn = []
    for frame in range(frames):
        image = behind.draw(frame)
        for actor in actors:
            scene.paste(image, actor, frame)
        drawn.append(image)
    noise = rng.normal(0.0, rng.uniform(0.0, 3.0), (frames, height, width, 1))
    return np.asarray(np.clip(np.rint(np.stack(drawn) + noise), 0, 255), np.uint8)


def _motion(rng: np.random.Generator, name: str, times: Curve) -> Motion:
    position, growth, tilt = (_ACTIONS | _STRANGERS)[name](rng, times)
    sway = tremor(rng, times, rng.uniform(0.0, 0.01))
    return Motion(
        position + sway,
        rng.uniform(0.2, 0.4) * growth,
        tilt + rng.normal(0.0, 0.3),
        tremor(rng, times, rng.uniform(0.0, 0.008)),
        np.ones_like(times),
    )


def _background(rng: np.random.Generator, name: str, times: Curve) -> Motion:
    reach = rng.uniform(0.03, 0.15) if name == "handheld" else 0.0
    angle = rng.uniform(0.0, 2 * np.pi)
    line = reach * (times[:, None] - 0.5) * np.array([np.cos(angle), np.sin(angle)])
    shift = line + tremor(rng, times, 0.02 if name == "handheld" else rng.uniform(0.0, 0.004))
    nothing = np.zeros((len(times), 2))
    return Motion(nothing, np.ones_like(times), np.zeros_like(times), shift, np.ones_like(times), present=False)


def write_videos(directory: Path, name: str, count: int, first_seed: int = 0, *, fps: int = FPS) -> None:
    """Write ``count`` MP4 files of ``name`` into ``directory``, of seeds that count from ``first_seed``."""
    directory.mkdir(parents=True, exist_ok=True)
    for seed in range(first_seed, first_seed + count):
        write_frames(directory / f"{name.replace(' ', '-')}-{seed}.mp4", film(name, seed, fps * SECONDS), fps)
