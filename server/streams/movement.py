"""How much moves in a window, in grey levels, whatever the noise of the sensor and the light do."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import numpy.typing as npt

Cells = npt.NDArray[np.float32]

# Cells of a crop along each side. The mean over a cell has little of the noise of its pixels, and what matters for an
# action is larger than a cell.
SIDE_CELLS = 16
# So much of the crop has to move: the mean is taken over the cells that change most.
_MOVING_SHARE = 1 / 32
# Added to levels before their logarithm, so that dark cells, which are mostly noise, count less.
_DARK_LEVELS = 16.0


def cells_of(crop: npt.NDArray[np.uint8]) -> Cells:
    """The mean levels of the cells of a crop, uint8 [crop, crop, 3]: float32 [3, cells], the channels in its order."""
    side = min(SIDE_CELLS, len(crop))
    means = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    return means.reshape(-1, 3).T.astype(np.float32)


def movement(cells: Cells) -> float:
    """How much the cells of a window, [T, 3, cells], vary over its frames beyond what light does, in grey levels.

    Light multiplies the levels of a surface, and does so evenly or by a slope across the picture (the shading model of
    Skifstad and Jain, 1989). So of the change of each frame's logarithms against their mean over the window, the plane
    that fits best is light: flicker, dusk, a cloud, a lamp at one side. What is left is counted in grey levels as the
    standard deviation over time, which noise of single frames raises by little, and averaged over the cells that
    change most.
    """
    logarithms = np.log(cells + np.float32(_DARK_LEVELS))
    changes = logarithms - logarithms.mean(axis=0)
    planes = _planes(round(cells.shape[2] ** 0.5))
    changes -= (changes @ planes) @ planes.T
    changes *= cells.mean(axis=0) + np.float32(_DARK_LEVELS)
    deviations = np.sqrt(np.square(changes).mean(axis=(0, 1)))
    count = max(1, round(_MOVING_SHARE * deviations.size))
    return float(np.partition(deviations, -count)[-count:].mean())


@functools.cache
def _planes(side: int) -> Cells:
    """An orthonormal basis of the planes over ``side`` x ``side`` cells, [cells, 3]."""
    along = np.linspace(-1.0, 1.0, side)
    rows, columns = np.repeat(along, side), np.tile(along, side)
    basis = np.linalg.qr(np.stack([np.ones(side * side), rows, columns], axis=1))[0]
    return np.asarray(basis, np.float32)
