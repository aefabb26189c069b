"""Random silhouettes of objects, and sprites of that shape."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from export.demo.rendering import textures

Mask = npt.NDArray[np.float32]


def _grid(side: int) -> tuple[Mask, Mask]:
    """Return rows and columns of a square grid, from -1 to 1."""
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)
    return rows, columns


def superellipse(rng: np.random.Generator, side: int) -> Mask:
    """Draw a shape between an ellipse and a rectangle, with an aspect ratio of up to about 1:3."""
    rows, columns = _grid(side)
    power, narrow = rng.choice([2.0, 2.0, 3.0, 6.0, 40.0]), rng.uniform(0.35, 1.0)
    inside = np.abs(rows / 0.94) ** power + np.abs(columns / 0.94 / narrow) ** power < 1
    return np.asarray(inside, np.float32)


def lobed(rng: np.random.Generator, side: int) -> Mask:
    """Draw a closed curve whose radius is a random Fourier series, like a fruit, a toy or an animal."""
    rows, columns = _grid(side)
    angle, radius = np.arctan2(rows, columns), np.hypot(rows, columns)
    outline = np.ones_like(angle)
    for order in range(1, 7):
        amplitude = rng.normal(0.0, 0.35 / order)
        outline += (amplitude * np.cos(order * angle + rng.uniform(0.0, 2 * np.pi))).astype(np.float32)
    outline = np.maximum(outline, 0.25)
    return np.asarray(radius < 0.96 * outline / outline.max(), np.float32)


def polygon(rng: np.random.Generator, side: int) -> Mask:
    """Draw an irregular polygon or star."""
    points = int(rng.integers(3, 10))
    angles = np.linspace(0.0, 2 * np.pi, points, endpoint=False) + rng.uniform(-0.3, 0.3, points)
    radii = rng.uniform(rng.uniform(0.4, 0.9), 1.0, points) * side * 0.48
    outline = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1) + side / 2
    mask = np.zeros((side, side), np.float32)
    cv2.fillPoly(mask, [outline.astype(np.int32)], 1.0)
    return mask


def compound(rng: np.random.Generator, side: int) -> Mask:
    """Draw several overlapping parts, like a cup with a handle or a lamp with a foot."""
    mask = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(2, 5))):
        centre = tuple(int(value) for value in rng.integers(round(0.3 * side), round(0.7 * side) + 1, 2))
        axes = tuple(int(value) for value in np.maximum(1, rng.uniform(0.08, 0.29, 2) * side))
        cv2.ellipse(mask, centre, axes, rng.uniform(0.0, 180.0), 0.0, 360.0, 1.0, -1)
    return mask


def _fitted(mask: Mask) -> Mask:
    """Return the mask, centred and scaled until its larger extent fills the picture except for a thin margin."""
    side = len(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    middle = (columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2
    scale = 0.96 * side / extent
    fit = np.array([[scale, 0.0, side / 2 - scale * middle[0]], [0.0, scale, side / 2 - scale * middle[1]]])
    return np.asarray(cv2.warpAffine(mask, fit, (side, side)), np.float32)


_SHAPES = (superellipse, lobed, polygon, compound)


def silhouette(rng: np.random.Generator, side: int) -> Mask:
    """Draw a mask float32 [side, side] in [0, 1] with a sharp or soft edge and a random rotation."""
    mask = _SHAPES[rng.choice(4, p=(0.35, 0.3, 0.15, 0.2))](rng, side)
    if rng.random() < 0.7:
        turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(0.0, 360.0), 0.95)
        mask = np.asarray(cv2.warpAffine(mask, turn, (side, side)), np.float32)
    return np.asarray(cv2.GaussianBlur(_fitted(mask), (0, 0), rng.uniform(0.3, 0.02 * side + 0.3)), np.float32)


def _shading(rng: np.random.Generator, side: int) -> Mask:
    """Return brightness factors around 1 [side, side], as on a round body lit from one side."""
    rows, columns = _grid(side)
    slope, dome = rng.normal(0.0, 0.25, 2), rng.uniform(0.0, 0.4)
    light = 1 + rows * slope[0] + columns * slope[1] - dome * (rows**2 + columns**2 - 0.3)
    return np.asarray(light, np.float32)


def sprite(rng: np.random.Generator, side: int, busy: float) -> npt.NDArray[np.uint8]:
    """Draw an object, premultiplied uint8 RGBA [side, side, 4]; ``busy`` is the probability of a rich texture."""
    paint = textures.photographic if rng.random() < busy else textures.ground
    colour = np.clip(paint(rng, side, side) * _shading(rng, side)[..., None], 0.0, 1.0)
    mask = silhouette(rng, side)[..., None]
    return np.rint(np.concatenate([colour * mask, mask], axis=2) * 255.0).astype(np.uint8)


def stand_out(sprite: npt.NDArray[np.uint8], behind: npt.NDArray[np.float64], least: float) -> npt.NDArray[np.uint8]:
    """Lighten or darken an RGBA ``sprite`` until its mean differs from the colour ``behind`` by ``least`` levels."""
    alpha = sprite[..., 3:].astype(np.float32)
    mean = sprite[..., :3].sum(axis=(0, 1)) / (alpha.sum() / 255.0 + 1e-6)
    difference = float((mean - behind).mean())
    if np.abs(mean - behind).max() >= least:
        return sprite
    lighter = difference > 0 if 60 < behind.mean() < 195 else behind.mean() <= 60
    step = (least - difference) if lighter else (-least - difference)
    colour = np.clip(sprite[..., :3] + step * alpha / 255.0, 0.0, alpha)
    return np.concatenate([colour, alpha], axis=2).round().astype(np.uint8)
