"""Shares of a sample, with the interval in which the true share lies."""

from __future__ import annotations

from dataclasses import dataclass

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Proportion:
    """``count`` of ``total``; ``low`` and ``high`` bound the true share with a confidence of 95 % (Wilson's interval).

    Source: E. B. Wilson, Journal of the American Statistical Association 22 (1927). Without a sample the interval is
    0 to 1.
    """

    count: int
    total: int
    share: float
    low: float
    high: float


def proportion(count: int, total: int) -> Proportion:
    """The share ``count`` / ``total``."""
    if not total:
        return Proportion(0, 0, 0.0, 0.0, 1.0)
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci(LEVEL, method="wilson")
    return Proportion(count, total, count / total, float(interval.low), float(interval.high))
