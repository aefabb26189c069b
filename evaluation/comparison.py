"""Whether one subject is more often right than another on the same videos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.scores import Scores

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Comparison:
    """``only_first`` videos are answered right by ``first`` alone, ``only_second`` by ``second`` alone.

    ``p`` is the probability of a difference at least so large if both are equally good, by McNemar's exact test.
    Source: Q. McNemar, Psychometrika 12 (1947).
    """

    first: str
    second: str
    only_first: int
    only_second: int
    p: float

    def sentence(self) -> str:
        """What the test says, in a sentence."""
        told = (
            f"{self.first} alone is right on {self.only_first} videos, {self.second} alone on {self.only_second}"
            f" (McNemar's exact test: p = {self.p:.3g})"
        )
        if self.p >= SIGNIFICANT:
            return f"No difference was shown: {told}."
        better, worse = (self.first, self.second) if self.only_first > self.only_second else (self.second, self.first)
        return f"{better} is more often right than {worse}: {told}."


def comparison(first: Scores, second: Scores) -> Comparison:
    """Compare two subjects on the same videos in the same order."""
    from scipy.stats import binomtest

    only_first = int(np.sum(first.right & ~second.right))
    only_second = int(np.sum(second.right & ~first.right))
    differing = only_first + only_second
    p = float(binomtest(only_first, differing).pvalue) if differing else 1.0
    return Comparison(first.subject.name, second.subject.name, only_first, only_second, p)
