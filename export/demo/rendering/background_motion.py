"""Motion within the background, such as leaves, water, or a person who moves."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from export.demo.rendering.curves import Curve
from export.demo.rendering.textures import fractal_noise

Field = npt.NDArray[np.float32]

_GRID = 96


def _window(rng: np.random.Generator, rows: int, columns: int) -> Field:
    """Return the strength of the motion [rows, columns, 1]: a soft spot at a random place, 1 at its centre."""
    down, right = np.mgrid[0:rows, 0:columns].astype(np.float32)
    centre, radius = rng.uniform(0.1, 0.9, 2) * (rows, columns), rng.uniform(0.15, 0.5) * min(rows, columns)
    distance = np.hypot(down - centre[0], right - centre[1]) / radius
    return np.asarray(np.exp(-(distance**4)), np.float32)[..., None]


@dataclass(frozen=True)
class Stir:
    """Two displacement fields, float32 [2, H, W] (x, y) in pixels, mixed by the sine and cosine of ``phases`` [T]."""

    first: Field
    second: Field
    phases: Curve

    @classmethod
    def sample(cls, rng: np.random.Generator, height: int, width: int, frames: int, unit: float) -> Stir:
        """Draw fine ripples everywhere or a larger motion in one place; displacements scale with ``unit`` in pixels."""
        shrink = max(1.0, min(height, width) / _GRID)
        rows, columns = round(height / shrink), round(width / shrink)
        if rng.random() < 0.4:
            fields = fractal_noise(rng, rows, columns, 4, 0.4) * rng.uniform(0.002, 0.015)
        else:
            fields = fractal_noise(rng, rows, columns, 4, 0.15) * _window(rng, rows, columns) * rng.uniform(0.01, 0.09)
        large = cv2.resize(fields * np.float32(unit), (width, height)).transpose(2, 0, 1).astype(np.float32)
        phases = rng.uniform(0.0, 6.0) + rng.choice([rng.uniform(1.0, 5.0), rng.uniform(2.0, 25.0)]) * np.linspace(
            0, 1, frames
        )
        return cls(large[:2], large[2:], phases)

    def at(self, frame: int) -> Field:
        """Return the displacements of one frame, float32 [2, H, W] (x, y) in pixels."""
        phase = self.phases[frame]
        return self.first * np.float32(np.sin(phase)) + self.second * np.float32(np.cos(phase))
