"""The percentile that every measurement here means by p50 and p99."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(rising: Sequence[float], percent: int) -> float:
    """The nearest of ``rising``, which is not empty, of which ``percent`` in a hundred are less; never in between."""
    return rising[min(len(rising) - 1, len(rising) * percent // 100)]
