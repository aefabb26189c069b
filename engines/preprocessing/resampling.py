"""Pillow's antialiased bilinear resize and the centre crop of one axis, as one banded matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# The number of fractional bits in Pillow's fixed-point weights.
PRECISION_BITS = 22


def resample_weights(source: int, target: int, offset: int, count: int) -> npt.NDArray[np.int32]:
    """The weights that resize ``source`` pixels to ``target`` and keep ``count`` pixels from ``offset`` on.

    Returns int32 [count, source], in units of 2**-22. The weights equal those of ``precompute_coeffs`` in Pillow's
    ``Resample.c``: a triangle that reaches one scale factor (at least 1 pixel) to each side, cut off at the picture's
    borders and normalised.
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
    """The range of source pixels with a weight other than zero."""
    used = np.flatnonzero(weights.any(axis=0))
    return slice(int(used[0]), int(used[-1]) + 1)
