"""A camera's day in fast motion: scenes at rest under noise, flicker and slow light, and actions at known times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simplejpeg

from export.demo.labels import HOLD, LABELS
from export.demo.rendering import motions, scene, shapes
from export.demo.rendering.scenery import Scenery

Frames = npt.NDArray[np.uint8]

FPS = 3.0
ACTION_FRAMES = 16
# Between two scenes, as when a camera turns to its next place: no window spans it.
PAUSE_S = 30.0
_SIZE = (96, 128)
_JPEG_QUALITY = 80
# Variance in squared levels: of reading the sensor, and of the light for each level.
_READ_NOISE, _SHOT_NOISE = 4.0, 0.15


@dataclass(frozen=True, slots=True)
class Action:
    """It is seen from ``start_s`` to ``end_s``."""

    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Day:
    """Of each of ``actions`` scenes, ``rest`` frames show nothing but noise and light, and 16 an action."""

    seed: int
    actions: int = 200
    rest: int = 224

    @property
    def frames(self) -> int:
        return self.actions * (self.rest + ACTION_FRAMES)

    def scenes(self) -> Iterator[tuple[Action, list[tuple[float, bytes]]]]:
        """The action of each scene, and its frames: their times in seconds, and JPEGs."""
        rng = np.random.default_rng(self.seed)
        light = _Light(rng, self.frames)
        scene_s = (self.rest + ACTION_FRAMES) / FPS + PAUSE_S
        names = [label for label in LABELS if label != HOLD]
        for number in range(self.actions):
            label = names[int(rng.integers(len(names)))]
            film = _film(rng, label)
            before = int(rng.integers(self.rest // 4, 3 * self.rest // 4))
            shown = [0] * before + list(range(ACTION_FRAMES)) + [ACTION_FRAMES - 1] * (self.rest - before)
            first_s, first = number * scene_s, number * len(shown)
            sent = [
                (first_s + index / FPS, _jpeg(light.on(film[frame], first + index)))
                for index, frame in enumerate(shown)
            ]
            start_s = first_s + before / FPS
            yield Action(label, start_s, start_s + ACTION_FRAMES / FPS), sent


class _Light:
    """Day, clouds, a light that moves across the scene, flicker, and the noise of the sensor."""

    def __init__(self, rng: np.random.Generator, frames: int) -> None:
        self._rng = rng
        now = np.arange(frames)
        height = np.sin(np.pi * (now + 0.5) / frames)
        warmth = 0.15 * (1 - height)[:, None] * np.array([-1.0, 0.0, 1.0])
        flicker = 0.02 * np.sin(2.1 * now) + rng.normal(0.0, 0.015, frames)
        self._gains = (0.35 + 0.65 * height + flicker + _slow(rng, now, 0.08))[:, None] * (1 + warmth)
        self._slopes = np.stack([_slow(rng, now, 0.08), _slow(rng, now, 0.08)])
        rows, columns = (np.linspace(-1.0, 1.0, side) for side in _SIZE)
        self._rows, self._columns = rows[:, None, None], columns[None, :, None]
        # Noise is drawn once, and taken from a random place for each frame.
        self._noise = rng.standard_normal((2 * _SIZE[0], 2 * _SIZE[1], 3), np.float32)

    def on(self, frame: Frames, index: int) -> Frames:
        """``frame``, BGR uint8 [H, W, 3], as the camera sees it at frame ``index`` of the day."""
        slope = 1 + self._slopes[0, index] * self._rows + self._slopes[1, index] * self._columns
        lit = frame * (self._gains[index] * slope).astype(np.float32)
        row, column = (int(self._rng.integers(side)) for side in _SIZE)
        noise = self._noise[row : row + _SIZE[0], column : column + _SIZE[1]]
        lit += noise * np.sqrt(_READ_NOISE + _SHOT_NOISE * lit)
        return np.asarray(np.clip(np.rint(lit), 0, 255), np.uint8)


def _slow(rng: np.random.Generator, now: npt.NDArray[np.int64], amplitude: float) -> npt.NDArray[np.float64]:
    """Waves with periods of two to twenty minutes."""
    waves = [np.sin(2 * np.pi * now / (FPS * rng.uniform(120, 1200)) + rng.uniform(0, 2 * np.pi)) for _ in range(4)]
    return np.asarray(amplitude * np.mean(waves, axis=0) * 2)


def _film(rng: np.random.Generator, label: str) -> Frames:
    """The frames of a new scene with that action, BGR uint8 [16, H, W, 3], without any effect of a camera."""
    height, width = _SIZE
    short = min(_SIZE)
    times = np.linspace(0.0, 1.0, ACTION_FRAMES)
    motion = motions.sample(rng, label, times, motions.View(width / (2 * short), height / (2 * short), drift=0.5))
    behind = scene.Footage(rng, motion, height, width, Scenery.CALM)
    painted = shapes.sprite(rng, int(np.clip(motion.size.max() * short, 24, 200)), 0.85)
    actor = scene.Actor(
        shapes.stand_out(painted, behind.colour(), rng.uniform(28.0, 80.0)), motion.position, motion.size, motion.tilt
    )
    drawn = []
    for frame in range(ACTION_FRAMES):
        image = behind.draw(frame)
        if motion.present:
            scene.paste(image, actor, frame)
        drawn.append(image[..., ::-1])
    return np.ascontiguousarray(np.stack(drawn))


def _jpeg(frame: Frames) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(frame), _JPEG_QUALITY, "BGR", "420"))
