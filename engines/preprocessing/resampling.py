"""Pillow's antialiased bilinear resize and the centre crop of one axis, as one banded matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# The bits after the point in Pillow's fixed-point numbers.
PRECISION_BITS = 22


def resample_weights(source: int, target: int, offset: int, count: int) -> npt.NDArray[np.int32]:
    """The weights that give pixels ``offset`` to ``offset + count`` of ``source`` pixels resized to ``target``.

    Weights int32 [count, source], in units of 2**-22.

    As ``precompute_coeffs`` of Pillow's ``Resample.c`` has it: a triangle as wide as the reduction, at least 2 pixels,
    cut off at the picture's borders and normalised.
    """
    scale = source / target
    support = max(scale, 1.0)
    centres = (np.arange(offset, offset + count) + 0.5)[:, None] * scale
    pixels = np.arange(source)[None]
    first, last = np.trunc(centres - support + 0.5).clip(0), np.trunc(centres + support + 0.5).clip(max=source)
    weights = (1 - np.abs(pixels + 0.5 - centres) / support).clip(0)
    weights[(pixels < first) | (pixels >= last)] = 0
    normalised = weights / weights.sum(axis=1, keepdims=True)
    return np.asarray(np.floor(normalised * 2**PRECISION_BITS + 0.5), np.int32)


def used_span(weights: npt.NDArray[np.int32]) -> slice:
    """The source pixels whose weight is not zero."""
    used = np.flatnonzero(weights.any(axis=0))
    return slice(int(used[0]), int(used[-1]) + 1)
