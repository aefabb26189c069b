"""How fast clips go through the engine, as measured."""

from __future__ import annotations

import math

# Weight of the newest batch: a few batches after a change the old speed is forgotten.
_NEWEST = 0.2
_LONGEST_RETRY_S = 60


class Throughput:
    """A moving average of the engines' seconds for each clip; 0 until a batch was measured."""

    def __init__(self) -> None:
        self.seconds_per_clip = 0.0
        self._last_ended_s = 0.0

    def record(self, clips: int, started_s: float, ended_s: float) -> None:
        """A batch of ``clips`` took so long; what it ran beside another batch is the other's time."""
        measured = (ended_s - max(started_s, min(self._last_ended_s, ended_s))) / clips
        self._last_ended_s = ended_s
        known = self.seconds_per_clip
        self.seconds_per_clip = known + _NEWEST * (measured - known) if known else measured

    def retry_after_s(self, clips: int) -> int:
        """Whole seconds until ``clips`` are through, 1 to 60."""
        return min(max(1, math.ceil(clips * self.seconds_per_clip)), _LONGEST_RETRY_S)
