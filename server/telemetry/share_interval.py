"""The interval of a share that was estimated from a sample."""

from __future__ import annotations

import math

# Of the standard normal distribution, for 95 %.
_DEVIATIONS = 1.959964


def share_interval(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval for the share of which ``hits`` of ``count`` were seen; 0 to 1 without any.

    It is that of Agresti and Coull (1998). Unlike the usual interval around the mean, it holds for rare hits and for
    none; Wilson's, around the same centre, is narrower and misses rare shares too often.
    """
    if count == 0:
        return 0.0, 1.0
    enlarged = count + _DEVIATIONS**2
    centre = (hits + _DEVIATIONS**2 / 2) / enlarged
    half = _DEVIATIONS * math.sqrt(centre * (1 - centre) / enlarged)
    return max(0.0, centre - half), min(1.0, centre + half)
