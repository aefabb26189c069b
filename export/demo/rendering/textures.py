"""Random pictures with the statistics of photographs: occlusion, shading, and detail at every scale.

The functions that paint a picture return float32 RGB [height, width, 3] in [0, 1].
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.float32]


def palette(rng: np.random.Generator, count: int) -> Picture:
    """Draw colours [count, 3] around a few base colours, mostly greyish as in photographs, sometimes vivid."""
    anchors = rng.uniform(0.05, 0.95, (int(rng.integers(1, 5)), 3))
    saturation = rng.beta(1.2, 2.0)
    anchors = anchors.mean(axis=1, keepdims=True) * (1 - saturation) + anchors * saturation
    spread = rng.normal(0.0, 1.0, (count, 1)) * rng.uniform(0.03, 0.3) + rng.normal(
        0.0, rng.uniform(0.0, 0.1), (count, 3)
    )
    chosen = anchors[rng.integers(0, len(anchors), count)]
    return np.asarray(np.clip(chosen + spread, 0.0, 1.0), np.float32)


def fractal_noise(rng: np.random.Generator, height: int, width: int, channels: int, roughness: float) -> Picture:
    """Draw noise [height, width, channels] of mean 0 and deviation 1; amplitudes fall by ``roughness`` per octave."""
    total = np.zeros((height, width, channels), np.float32)
    cells, amplitude = 2.0, 1.0
    while cells < max(height, width):
        rows, columns = max(2, round(cells * height / width)), max(2, round(cells))
        grid = rng.standard_normal((rows, columns, channels), dtype=np.float32)
        octave = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        total += amplitude * octave.reshape(height, width, channels)
        cells, amplitude = cells * 2.0, amplitude * roughness
    deviation = float(total.std())
    return np.asarray((total - total.mean()) / max(deviation, 1e-6), np.float32)


def cloud(rng: np.random.Generator, height: int, width: int) -> Picture:
    """Mix two colours of a palette with smooth to rough fractal noise."""
    noise = fractal_noise(rng, height, width, 1, rng.uniform(0.4, 0.9))
    tint = fractal_noise(rng, height, width, 3, 0.6)
    low, high = palette(rng, 2)
    mixed = low + (high - low) * (0.5 + 0.3 * noise) + tint * rng.uniform(0.0, 0.1)
    return np.asarray(np.clip(mixed, 0.0, 1.0), np.float32)


def ground(rng: np.random.Generator, height: int, width: int) -> Picture:
    """Paint nearly one colour with a light gradient and a little grain, like a table, a wall or the sky."""
    rows, columns = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j].astype(np.float32)
    slope = rng.normal(0.0, 0.25, 2)
    light = (rows * slope[0] + columns * slope[1]).astype(np.float32)[..., None]
    grain = fractal_noise(rng, height, width, 1, 0.9) * rng.uniform(0.0, 0.04)
    return np.asarray(np.clip(palette(rng, 1)[0] + light + grain, 0.0, 1.0), np.float32)


def stripes(rng: np.random.Generator, height: int, width: int) -> Picture:
    """Paint slightly bent bars at a random angle, like boards, cloth or blinds."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0.0, np.pi)
    bend = fractal_noise(rng, height, width, 1, 0.5)[..., 0] * rng.uniform(0.0, 8.0)
    across = rows * np.sin(angle) + columns * np.cos(angle) + bend
    colours = palette(rng, 64)
    index = (across / rng.uniform(4.0, 40.0)).astype(np.int64) % int(rng.integers(2, 64))
    return np.asarray(colours[index])


def mosaic(rng: np.random.Generator, height: int, width: int) -> Picture:
    """Paint tiles of different colours on a distorted grid, like bricks, windows or shelves."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    warp = fractal_noise(rng, height, width, 2, 0.5) * rng.uniform(0.0, 6.0)
    tall, wide = rng.uniform(8.0, 60.0, 2)
    index = ((rows + warp[..., 0]) // tall).astype(np.int64) * 31 + ((columns + warp[..., 1]) // wide).astype(np.int64)
    return np.asarray(palette(rng, 101)[index % 101])


def _leaf(rng: np.random.Generator, centre: tuple[int, int], radius: float) -> npt.NDArray[np.int32]:
    """Return the outline [points, 2] in pixels of an ellipse or an irregular polygon."""
    points = int(rng.choice([3, 4, 4, 5, 8, 16]))
    angles = np.sort(rng.uniform(0.0, 2 * np.pi, points)) if points < 8 else np.linspace(0.0, 2 * np.pi, points)
    radii = radius * rng.uniform(0.8, 1.1, points)
    turn, squeeze = rng.uniform(0.0, np.pi), rng.uniform(0.25, 1.0)
    x, y = radii * np.cos(angles), radii * np.sin(angles) * squeeze
    outline = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1)
    return (outline + centre).astype(np.int32)


def dead_leaves(rng: np.random.Generator, height: int, width: int) -> Picture:
    """Paint shaded, grainy, opaque shapes of every size that occlude one another, as objects in photographs do."""
    count = int(rng.integers(60, 350))
    smallest = rng.uniform(2.0, 6.0)
    radii = np.minimum(smallest / rng.uniform(1e-3, 1.0, count) ** rng.uniform(0.4, 0.8), 0.4 * max(height, width))
    index = np.zeros((height, width), np.uint16)
    for leaf, radius in enumerate(radii, start=1):
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        cv2.fillPoly(index, [_leaf(rng, centre, float(radius))], leaf)
    rows, columns = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    slopes = rng.normal(0.0, 0.4, (count + 1, 2)).astype(np.float32)
    grain = (rng.beta(1.0, 3.0, count + 1) * 0.15).astype(np.float32)
    shade = rows * slopes[index, 0] + columns * slopes[index, 1]
    shade += fractal_noise(rng, height, width, 1, 0.85)[..., 0] * grain[index]
    return np.asarray(np.clip(palette(rng, count + 1)[index] + shade[..., None], 0.0, 1.0), np.float32)


_STRUCTURES = (dead_leaves, cloud, stripes, mosaic)


def photographic(rng: np.random.Generator, height: int, width: int) -> Picture:
    """Paint one structure or a blend of two, with uneven light and a random sharpness and contrast."""
    picture = _STRUCTURES[rng.choice(4, p=(0.6, 0.2, 0.08, 0.12))](rng, height, width)
    if rng.random() < 0.3:
        blend = np.clip(0.5 + fractal_noise(rng, height, width, 1, 0.6) * rng.uniform(0.5, 4.0), 0.0, 1.0)
        picture = picture * blend + cloud(rng, height, width) * (1 - blend)
    light = 1.0 + fractal_noise(rng, height, width, 1, 0.3) * rng.uniform(0.0, 0.25)
    if rng.random() < 0.5:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 2.5)), np.float32)
    contrast, mean = rng.uniform(0.10, 0.28) / max(float(picture.std()), 0.05), picture.mean()
    picture = (mean + (picture - mean) * contrast) * light
    return np.asarray(np.clip(picture, 0.0, 1.0), np.float32)
