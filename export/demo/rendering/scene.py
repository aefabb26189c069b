"""Draws the frames of a clip: a background larger than the frame, bystanders in it, and one object."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from export.demo.rendering import shapes, textures
from export.demo.rendering.background_motion import Stir
from export.demo.rendering.curves import Curve, tremor
from export.demo.rendering.motions import Motion
from export.demo.rendering.scenery import Scenery

Image = npt.NDArray[np.uint8]

# The probability that an object or a background has a rich texture.
BUSY = {Scenery.PLAIN: 0.0, Scenery.CALM: 0.85, Scenery.LIVELY: 0.85, Scenery.RESTLESS: 0.95}
# The probability that the background moves within itself, and the strength of that motion.
_STIR = {Scenery.PLAIN: (0.0, 0.0), Scenery.CALM: (0.1, 0.4), Scenery.LIVELY: (0.4, 1.0), Scenery.RESTLESS: (0.8, 2.0)}
# The probabilities of 0, 1, 2 and 3 bystanders.
_BYSTANDERS = {
    Scenery.CALM: (0.92, 0.08, 0.0, 0.0),
    Scenery.LIVELY: (0.7, 0.15, 0.1, 0.05),
    Scenery.RESTLESS: (0.4, 0.3, 0.2, 0.1),
}
_MOST_CANVAS_PIXELS = 350_000


@dataclass(frozen=True)
class Actor:
    """A sprite (uint8 RGBA, premultiplied) with its centre [T, 2], diameter [T] and tilt [T] in the frame."""

    sprite: Image
    position: Curve
    size: Curve
    tilt: Curve


def _canvas_half(motion: Motion, height: int, width: int) -> npt.NDArray[np.float64]:
    """Return half the width and half the height of the visible part of the scene, in short edges."""
    half = np.array([width, height]) / (2 * min(height, width))
    return np.asarray((half / motion.zoom[:, None] + np.abs(motion.shift)).max(axis=0) + 0.02)


def _moves(motion: Motion) -> bool:
    """Tell whether the camera moves noticeably."""
    return bool(np.ptp(motion.shift, axis=0).max() > 0.15 or np.ptp(motion.zoom) > 0.15)


def _paint(canvas: textures.Picture, rng: np.random.Generator, centre: npt.NDArray[np.float64], diameter: int) -> None:
    """Paint a resting object on the canvas; its centre and diameter are in canvas pixels."""
    behind = canvas.mean(axis=(0, 1)) * 255.0
    painted = shapes.stand_out(shapes.sprite(rng, max(8, diameter), 0.6), behind, rng.uniform(15.0, 70.0))
    sprite = painted.astype(np.float32) / np.float32(255.0)
    left, top = (centre - len(sprite) / 2).astype(int)
    rows = slice(max(top, 0), min(top + len(sprite), canvas.shape[0]))
    columns = slice(max(left, 0), min(left + len(sprite), canvas.shape[1]))
    if rows.start < rows.stop and columns.start < columns.stop:
        part = sprite[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        canvas[rows, columns] = canvas[rows, columns] * (1 - part[..., 3:]) + part[..., :3]


class Background:
    """One scene behind the object: a painted canvas that is viewed with the shift and zoom of ``motion``."""

    def __init__(self, rng: np.random.Generator, motion: Motion, height: int, width: int, scenery: Scenery) -> None:
        half = _canvas_half(motion, height, width)
        self._short = min(height, width)
        most = float(np.sqrt(_MOST_CANVAS_PIXELS / (4 * half[0] * half[1])))
        self._density = min(self._short * rng.uniform(0.7, 1.3), most)
        columns, rows = (int(extent) + 2 for extent in 2 * half * self._density)
        textured = rng.random() < BUSY[scenery]
        picture = (textures.photographic if textured else textures.ground)(rng, rows, columns)
        # On plain ground, only resting objects make a camera motion visible, so there must be enough of them.
        furniture = 1.0 if textured else 2.0 * (scenery != Scenery.PLAIN) + 12.0 * float(half.prod()) * _moves(motion)
        for _ in range(int(rng.poisson(furniture))):
            diameter = int(np.exp(rng.uniform(np.log(0.06), np.log(0.5))) * self._density)
            _paint(picture, rng, rng.uniform(0.0, 1.0, 2) * (columns, rows), diameter)
        self._canvas = np.rint(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8)
        self._motion = motion
        self._frame_shape = (height, width)
        chance, strength = _STIR[scenery]
        stirs = rng.random() >= 1 - chance
        self._stir = Stir.sample(rng, height, width, len(motion.zoom), strength * self._density) if stirs else None

    def _lens(self, frame: int) -> npt.NDArray[np.float64]:
        """Return the affine map [2, 3] from frame pixels to canvas pixels."""
        height, width = self._frame_shape
        step = self._density / (self._short * self._motion.zoom[frame])
        centre = np.array([self._canvas.shape[1], self._canvas.shape[0]]) / 2 - 0.5
        corner = centre - self._density * self._motion.shift[frame] - step * (np.array([width, height]) / 2 - 0.5)
        return np.array([[step, 0.0, corner[0]], [0.0, step, corner[1]]])

    def colour(self) -> npt.NDArray[np.float64]:
        """Return the mean RGB colour of the scene in 8-bit levels [3]."""
        return np.asarray(self._canvas.mean(axis=(0, 1)), np.float64)

    def draw(self, frame: int) -> Image:
        """Draw the background of one frame, uint8 RGB [H, W, 3]."""
        height, width = self._frame_shape
        lens = self._lens(frame)
        if self._stir is None:
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            return _u8(cv2.warpAffine(self._canvas, lens, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT))
        columns = (np.arange(width) * lens[0, 0] + lens[0, 2]).astype(np.float32)
        rows = (np.arange(height) * lens[1, 1] + lens[1, 2]).astype(np.float32)
        dx, dy = self._stir.at(frame)
        return _u8(
            cv2.remap(
                self._canvas, columns[None] + dx, rows[:, None] + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
            )
        )


class Footage:
    """The backgrounds of all frames: a single one, or several with cuts between them."""

    def __init__(self, rng: np.random.Generator, motion: Motion, height: int, width: int, scenery: Scenery) -> None:
        cuts = int(rng.choice(4, p=(0.5, 0.25, 0.15, 0.1))) if scenery == Scenery.RESTLESS else 0
        self._backgrounds = [Background(rng, motion, height, width, scenery) for _ in range(cuts + 1)]
        frames = len(motion.zoom)
        starts = np.sort(rng.integers(1, max(2, frames), cuts))
        self._shown: list[int] = np.searchsorted(starts, np.arange(frames), side="right").tolist()

    def colour(self) -> npt.NDArray[np.float64]:
        """Return the mean RGB colour of the first background in 8-bit levels [3]."""
        return self._backgrounds[0].colour()

    def draw(self, frame: int) -> Image:
        """Draw the background of one frame, uint8 RGB [H, W, 3]."""
        return self._backgrounds[self._shown[frame]].draw(frame)


def _u8(image: npt.NDArray[np.generic]) -> Image:
    return np.asarray(image, np.uint8)


def bystanders(rng: np.random.Generator, motion: Motion, scenery: Scenery) -> list[Actor]:
    """Draw bystanders, objects of the scene that move a little by themselves; larger ones move less."""
    actors: list[Actor] = []
    count = int(rng.choice([0, 1, 2, 3], p=_BYSTANDERS[scenery]))
    times = np.linspace(0.0, 1.0, len(motion.zoom))
    for _ in range(count):
        size = float(np.exp(rng.uniform(np.log(0.04), np.log(0.35))))
        reach = np.clip(rng.normal(0.0, 0.012 / size, 2), -0.14, 0.14)
        path = rng.uniform(-0.5, 0.5, 2) + reach * times[:, None] + tremor(rng, times, 0.01)
        position = motion.zoom[:, None] * (path + motion.shift)
        actors.append(Actor(shapes.sprite(rng, 48, BUSY[scenery]), position, size * motion.zoom, 0.0 * times))
    return actors


def paste(image: Image, actor: Actor, frame: int) -> None:
    """Draw ``actor`` into ``image`` (uint8 RGB [H, W, 3]) in place."""
    height, width = image.shape[:2]
    short, side = min(height, width), len(actor.sprite)
    scale = actor.size[frame] * short / side
    centre = np.array([width, height]) / 2 - 0.5 + actor.position[frame] * short
    reach = scale * side * 0.75 + 2
    left, top = np.maximum(np.floor(centre - reach), 0).astype(int)
    right, bottom = np.minimum(np.ceil(centre + reach) + 1, (width, height)).astype(int)
    if left >= right or top >= bottom:
        return
    affine = cv2.getRotationMatrix2D((side / 2 - 0.5, side / 2 - 0.5), np.degrees(-actor.tilt[frame]), scale)
    affine[:, 2] += centre - (side / 2 - 0.5) - (left, top)
    drawn = cv2.warpAffine(actor.sprite, affine, (int(right - left), int(bottom - top)), flags=cv2.INTER_LINEAR)
    region = image[top:bottom, left:right]
    behind = cv2.multiply(region, cv2.cvtColor(255 - drawn[..., 3], cv2.COLOR_GRAY2RGB), scale=1 / 255)
    region[:] = cv2.add(behind, np.ascontiguousarray(drawn[..., :3]))
