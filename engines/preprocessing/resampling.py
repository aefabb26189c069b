"""The bilinear, antialiased resize and the centre crop of one axis, as a banded matrix of integers.

The weights are those of torch's resize of 8-bit tensors, which torchvision and so transformers' processor calls. Torch
rounds the weights to 16 bits, resizes the columns first, and rounds to 8 bits after each axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from engines.manifest import Preprocessing

_WEIGHT_BITS = 15
_MOST_FRACTION_BITS = 22


@dataclass(frozen=True)
class Axis:
    """The ``used`` pixels of one axis, and their int32 ``weights`` [crop, used] in units of 2**-``fraction_bits``."""

    used: slice
    weights: npt.NDArray[np.int32]
    fraction_bits: int


def resized_axes(height: int, width: int, preprocessing: Preprocessing) -> tuple[Axis, Axis]:
    """How frames of ``height`` x ``width`` are resized and cropped: the axis of the rows, then that of the columns."""
    crop, target = preprocessing.crop, _resized_shape(height, width, preprocessing.resize)
    rows, columns = (
        _axis(source, pixels, (pixels - crop) // 2, crop)
        for source, pixels in zip((height, width), target, strict=True)
    )
    return rows, columns


def frame_axes(height: int, width: int, preprocessing: Preprocessing, *, cropped: bool) -> tuple[Axis, Axis]:
    """As ``resized_axes``; those of frames that are ``cropped`` already leave each pixel as it is."""
    unchanged = replace(preprocessing, resize=preprocessing.crop)
    return resized_axes(height, width, unchanged if cropped else preprocessing)


def _resized_shape(height: int, width: int, short_edge: int) -> tuple[int, int]:
    """Height and width after the resize; the long edge is truncated, as torchvision does."""
    if height <= width:
        return short_edge, int(short_edge * width / height)
    return int(short_edge * height / width), short_edge


def _axis(source: int, target: int, offset: int, count: int) -> Axis:
    """The axis that resizes ``source`` pixels to ``target`` and keeps ``count`` pixels from ``offset`` on."""
    starts, weights = _triangles(source, target, np.arange(offset, offset + count))
    # All pixels together determine the number of bits. In an enlarged picture, the first pixel has one weight of 1.
    highest = 1.0 if target >= source else _triangles(source, target, np.arange(target))[1].max()
    fits = (int(0.5 + highest * 2**bits) < 2**_WEIGHT_BITS for bits in range(_MOST_FRACTION_BITS + 1))
    fraction_bits = sum(fits) - 1
    used = slice(int(starts[0]), min(int(starts[-1]) + weights.shape[1], source))
    matrix = np.zeros((count, used.stop - used.start + weights.shape[1]), np.int32)
    places = starts[:, None] - used.start + np.arange(weights.shape[1])
    np.put_along_axis(matrix, places, np.floor(0.5 + weights * 2**fraction_bits).astype(np.int32), 1)
    return Axis(used, matrix[:, : used.stop - used.start], fraction_bits)


def _triangles(
    source: int, target: int, pixels: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """For ``pixels`` of the target: the first source pixel of each, and its normalised weights [pixels, taps].

    A triangle reaches one scale factor (at least 1 pixel) to each side and is cut off at the picture's borders.
    """
    scale = source / target
    support = max(scale, 1.0)
    centres = (pixels + 0.5) * scale
    first = np.trunc(centres - support + 0.5).clip(0).astype(np.int64)
    last = np.trunc(centres + support + 0.5).clip(max=source)
    taps = first[:, None] + np.arange(int((last - first).max()))
    weights = (1 - np.abs(taps - centres[:, None] + 0.5) / support).clip(0)
    weights[taps >= last[:, None]] = 0
    return first, weights / weights.sum(axis=1, keepdims=True)
