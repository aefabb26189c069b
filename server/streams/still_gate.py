"""Passes over windows in which nothing moves, and estimates from a random share of them what that misses."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engines.linear_heads.head import HeadAnswer
from engines.linear_heads.manifest import UNKNOWN
from server.streams.movement import Cells, movement
from server.streams.options import StillOptions
from server.telemetry.share_interval import share_interval

# ``checked``: still, but classified all the same.
Verdict = Literal["moving", "checked", "still"]


@dataclass(frozen=True, slots=True)
class StillEstimate:
    """Of the still windows, ``checked`` were classified all the same, and ``missed`` of those show an event.

    ``missed_share``: the estimate for all still windows, None before the first check; it lies between ``low`` and
    ``high`` with 95 % confidence.
    """

    still: int
    checked: int
    missed: int
    missed_share: float | None
    low: float
    high: float


class StillGate:
    """Decides which windows of one stream are classified.

    Whether a still window is checked depends on chance alone, so that those that are checked stand for all of them.
    """

    def __init__(self, options: StillOptions, chance: Callable[[], float] = random.random) -> None:
        """``chance`` draws a number from 0 to 1."""
        self._options = options
        self._chance = chance
        self._still = self._checked = self._missed = 0

    def verdict(self, cells: Sequence[Cells]) -> Verdict:
        """What becomes of the window whose frames have ``cells``; to be asked once for each window."""
        if movement(np.stack(cells)) >= self._options.threshold:
            return "moving"
        self._still += 1
        return "checked" if self._chance() < self._options.check else "still"

    def check(self, answers: Iterable[HeadAnswer]) -> bool:
        """Count the answers to a ``checked`` window; return whether one shows an event, which was nearly missed."""
        missed = any(self._shows_event(answer) for answer in answers if answer.labels)
        self._checked += 1
        self._missed += missed
        return missed

    def _shows_event(self, answer: HeadAnswer) -> bool:
        wanted, label = self._options.event_labels, answer.top_label
        is_event = label in wanted if wanted else label != UNKNOWN
        return is_event and bool(answer.probabilities.max() >= self._options.event_threshold)

    @property
    def estimate(self) -> StillEstimate:
        share = self._missed / self._checked if self._checked else None
        return StillEstimate(
            self._still, self._checked, self._missed, share, *share_interval(self._missed, self._checked)
        )
