"""The times that a sender gives to the frames of a stream, made to rise."""

from __future__ import annotations

from sampling.steps import Steps
from sampling.timeline import Timed


class StreamTimes:
    """Keeps the sender's own times; ``interval_s`` is the expected time between frames.

    A step of more than ``max_gap_s`` seconds, or back by more than a quarter of a second, is a break. Smaller steps
    back are frames that overtook each other, and get the time of the frame before.
    """

    def __init__(self, interval_s: float, max_gap_s: float) -> None:
        self._steps = Steps(interval_s, max_gap_s)
        self._last_s: float | None = None

    def place(self, time_s: float) -> Timed[None]:
        """Time, duration and whether there is a break before the next frame, whose sender gave it ``time_s``."""
        last_s = self._last_s
        starts = last_s is None or self._steps.breaks(time_s - last_s)
        placed_s = time_s if starts or last_s is None else max(time_s, last_s)
        self._last_s = placed_s
        return Timed(placed_s, self._steps.typical_s, None, starts)
