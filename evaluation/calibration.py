"""How far confidences can be taken for probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers with about the same confidence: their mean ``confidence``, the share of right ones, and their number."""

    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """``error`` is the expected calibration error: the mean of |accuracy - confidence|, weighted by the bins' counts.

    Source: C. Guo et al., On Calibration of Modern Neural Networks (2017), with ten bins of equal width.
    """

    error: float
    bins: tuple[Bin, ...]


def calibration(confidences: npt.NDArray[np.floating], right: npt.NDArray[np.bool_]) -> Calibration:
    """Of answers with ``confidences`` from 0 to 1, float [N], of which those with ``right``, bool [N], are right."""
    numbers = np.clip((confidences * BINS).astype(int), 0, BINS - 1)
    bins = []
    for number in range(BINS):
        chosen = numbers == number
        if count := int(chosen.sum()):
            bins.append(Bin(float(confidences[chosen].mean()), float(right[chosen].mean()), count))
    total = sum(each.count for each in bins)
    error = sum(abs(each.accuracy - each.confidence) * each.count for each in bins) / max(1, total)
    return Calibration(error, tuple(bins))
