"""The interval of a share that was estimated from a sample."""

from __future__ import annotations

import math

# Of the standard normal distribution, for 95 %.
_DEVIATIONS = 1.959964


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval by Wilson for the share of which ``hits`` of ``count`` were seen; 0 to 1 without any.

    Unlike the usual interval around the mean, it holds for few hits, and for none.
    """
    if count == 0:
        return 0.0, 1.0
    share, spread = hits / count, _DEVIATIONS**2 / count
    centre = share + spread / 2
    half = math.sqrt(spread * (share * (1 - share) + spread / 4))
    return max(0.0, (centre - half) / (1 + spread)), min(1.0, (centre + half) / (1 + spread))
