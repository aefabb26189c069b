"""The measured speed of the engines."""

from __future__ import annotations

import math

# Weight of the newest batch: the average follows a change of speed within a few batches.
_NEWEST = 0.2
_MAX_RETRY_S = 60


class Throughput:
    """A moving average of the engines' seconds per clip; 0 until a batch was measured. Used by the event loop only."""

    def __init__(self) -> None:
        self.seconds_per_clip = 0.0
        self._last_ended_s = 0.0

    def record(self, clips: int, started_s: float, ended_s: float) -> None:
        """Include a batch of ``clips``; time in which it overlapped the batch before counts for that batch only."""
        measured = (ended_s - max(started_s, min(self._last_ended_s, ended_s))) / clips
        self._last_ended_s = ended_s
        known = self.seconds_per_clip
        self.seconds_per_clip = known + _NEWEST * (measured - known) if known else measured

    def retry_after_s(self, clips: int) -> int:
        """Whole seconds until ``clips`` are classified, 1 to 60."""
        return min(max(1, math.ceil(clips * self.seconds_per_clip)), _MAX_RETRY_S)
