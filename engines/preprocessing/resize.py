"""Resizes and crops frames on the CPU, level for level as torch resizes 8-bit tensors.

Each axis is resized by matrix products of floating-point numbers that are exact: every number in them is a multiple of
the weights' unit, and every sum has at most 24 bits (53 bits for frames that shrink more than 8 times). For this,
levels are counted from 128. Only the band of the matrix that is not zero is multiplied, block by block.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.manifest import Preprocessing
from engines.preprocessing.resampling import Axis, resized_axes

# The level from which levels are counted.
MIDDLE = 128

# The number of frame sizes whose tables are kept; the tables for 4K take 0.3 MB.
_MOST_TABLES = 64
# Weights can sum to a little more than 1. Sums of more than 24 bits are then rounded, but they are far from a tie.
_MOST_FLOAT32_BITS = 17
# OpenBLAS computes products below this number of multiplications in the calling thread. It spreads larger ones over
# threads of its own, which would compete with the threads that share the frames of a clip.
_MOST_MULTIPLICATIONS = 2**19
_BLOCKS = (32, 16, 8, 4, 2, 1)
# Smaller blocks multiply fewer zeros, and larger blocks take fewer calls.
_FEWEST_ROWS = 128
# A strip of rows that is resized together fits into the cache of a core.
_STRIP_BYTES = 2**20

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class _Block:
    """Resized pixels ``target`` of an axis, the used pixels ``source`` they depend on, and weights [source, target]."""

    source: slice
    target: slice
    weights: Floats


@dataclass(frozen=True)
class _Pass:
    """Resizes one axis. ``rounding`` [crop]: what is added before the fraction is cut off.

    ``most``: how many rows are resized together.
    """

    used: slice
    blocks: tuple[_Block, ...]
    rounding: Floats
    most: int


def cropped_levels(frame: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> Floats:
    """Resize and crop a frame uint8 [H, W, 3]: its levels minus ``MIDDLE``, float32 or float64 [3, crop, crop]."""
    rows, columns = _passes(*frame.shape[:2], preprocessing)
    narrow = _narrowed(frame[rows.used, columns.used].transpose(2, 0, 1), columns)
    small = np.empty((3, preprocessing.crop, preprocessing.crop), narrow.dtype)
    for block in rows.blocks:
        np.matmul(block.weights.T, narrow[:, block.source], out=small[:, block.target])
    small += rows.rounding[:, None]
    return np.floor(small, out=small)


def unresized_crop(frame: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """The crop [crop, crop, 3] of a frame whose short edge is ``preprocessing.resize`` already; a view of it."""
    crop = preprocessing.crop
    top, left = (each.used.start for each in _passes(*frame.shape[:2], preprocessing))
    return frame[top : top + crop, left : left + crop]


def counted_levels(crop: npt.NDArray[np.uint8]) -> Floats:
    """What ``cropped_levels`` returns for the frame of which ``crop``, uint8 [crop, crop, 3], was made; float32."""
    return crop.transpose(2, 0, 1).astype(np.float32) - MIDDLE


def _narrowed(pixels: npt.NDArray[np.uint8], columns: _Pass) -> Floats:
    """Resize the columns of ``pixels`` [3, rows, columns], a strip of rows after the other."""
    count, dtype = pixels.shape[1], columns.rounding.dtype
    narrow = np.empty((3, count, len(columns.rounding)), dtype)
    strip = np.empty((3, columns.most, pixels.shape[2]), dtype)
    for first in range(0, count, columns.most):
        rows = slice(first, first + columns.most)
        planes = np.subtract(pixels[:, rows], MIDDLE, out=strip[:, : len(pixels[0, rows])], dtype=dtype)
        for block in columns.blocks:
            np.matmul(planes[:, :, block.source], block.weights, out=narrow[:, rows, block.target])
        narrow[:, rows] += columns.rounding
        np.floor(narrow[:, rows], out=narrow[:, rows])
    return narrow


@functools.lru_cache(_MOST_TABLES)
def _passes(height: int, width: int, preprocessing: Preprocessing) -> tuple[_Pass, _Pass]:
    """The passes over the rows and over the columns of frames of this size, both of one type."""
    axes = resized_axes(height, width, preprocessing)
    exact = max(axis.fraction_bits for axis in axes) <= _MOST_FLOAT32_BITS
    dtype: np.dtype[Any] = np.dtype(np.float32 if exact else np.float64)
    rows, columns = (_pass(axis, dtype) for axis in axes)
    return rows, columns


def _pass(axis: Axis, dtype: np.dtype[Any]) -> _Pass:
    crop, used = axis.weights.shape
    for size in _BLOCKS:
        targets = [slice(first, min(first + size, crop)) for first in range(0, crop, size)]
        blocks = tuple(_block(axis, target, dtype) for target in targets)
        most = _MOST_MULTIPLICATIONS // max(block.weights.size for block in blocks)
        if most >= max(crop, _FEWEST_ROWS):
            break
    # Rounded weights do not sum to 1: the levels are counted from MIDDLE before the resize and after it.
    rest = axis.weights.sum(axis=1) * 2.0**-axis.fraction_bits - 1
    most = max(1, min(most, _STRIP_BYTES // (3 * used * dtype.itemsize)))
    return _Pass(axis.used, blocks, (MIDDLE * rest + 0.5).astype(dtype), most)


def _block(axis: Axis, target: slice, dtype: np.dtype[Any]) -> _Block:
    weights = axis.weights[target]
    used = np.flatnonzero(weights.any(axis=0))
    source = slice(int(used[0]), int(used[-1]) + 1)
    return _Block(source, target, np.ascontiguousarray(weights[:, source].T * 2.0**-axis.fraction_bits, dtype))
