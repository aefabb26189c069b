"""The steps between the frames of a stream: which is typical, and which is a break."""

from __future__ import annotations

import statistics
from collections import deque

# Decoders return frames in order; a longer step back means that the sender has restarted.
BACK_S = 0.25
# A gap must be longer than this many typical steps between frames, so that a slow camera has no gaps.
GAP_STEPS = 3.0
# The typical step is the median of this many steps.
MEDIAN_STEPS = 9


class Steps:
    """``interval_s`` is the expected step; a step of more than ``max_gap_s`` seconds is a break."""

    def __init__(self, interval_s: float, max_gap_s: float) -> None:
        self._max_gap_s = max_gap_s
        self._steps_s = deque([interval_s], maxlen=MEDIAN_STEPS)

    @property
    def typical_s(self) -> float:
        return statistics.median(self._steps_s)

    def breaks(self, step_s: float) -> bool:
        """Whether the next step is a break; a step is compared with those before it."""
        typical_s = self.typical_s
        if step_s >= 0:
            self._steps_s.append(step_s)
        return not -BACK_S <= step_s <= max(self._max_gap_s, GAP_STEPS * typical_s)
