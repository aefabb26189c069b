"""The timeline of a live source: anchors presentation times to the clock and finds breaks between frames."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from fractions import Fraction

from sampling.steps import GAP_STEPS, Steps


class Clock:
    """Unix time in seconds that never jumps, even if the machine's clock is changed."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def __call__(self) -> float:
        return self._offset_s + time.monotonic()


class LiveTimeline:
    """Gives the frames of one connection their times.

    ``time_base`` is seconds per tick, ``interval_s`` the stream's own interval between frames. A gap of more than
    ``max_gap_s`` seconds between two frames is a break; presentation times are then anchored to ``clock`` again. If
    the sender can restart without notice, ``silence_s`` seconds without an arrival are a break too (``None``: it
    cannot).

    Frames that were delayed arrive in a burst, and the first of them was anchored too late. ``ahead_s`` is the known
    number of seconds by which the times since the last anchor are too late.
    """

    def __init__(
        self,
        time_base: Fraction,
        interval_s: float,
        max_gap_s: float,
        silence_s: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._time_base = time_base
        self._interval_s = interval_s
        self._silence_s = silence_s
        self._clock = clock
        self._steps = Steps(interval_s, max_gap_s)
        self._offset_s: float | None = None
        self._last_s: float | None = None
        self._arrived_s = 0.0
        self.ahead_s = 0.0

    def place(self, pts: int | None) -> tuple[float, float, bool]:
        """Return ``(time_s, duration_s, starts)`` of the next frame in presentation order; ``pts`` is in ticks."""
        now_s = self._clock()
        time_s = now_s if pts is None else self._shifted(float(pts * self._time_base), now_s)
        starts = self._breaks(time_s, now_s)
        if starts and pts is not None:
            time_s = self._anchor(float(pts * self._time_base), now_s)
        elif self._last_s is not None:
            time_s = max(time_s, self._last_s)
        self._last_s, self._arrived_s = time_s, now_s
        self.ahead_s = max(self.ahead_s, time_s - now_s)
        return time_s, self._steps.typical_s, starts

    def _shifted(self, stamp_s: float, now_s: float) -> float:
        # Before the first time stamp, the clock gives the times of frames.
        return self._anchor(stamp_s, now_s) if self._offset_s is None else stamp_s + self._offset_s

    def _anchor(self, stamp_s: float, now_s: float) -> float:
        """Let ``stamp_s`` mean now, or one interval after the previous frame if that is later."""
        time_s = now_s if self._last_s is None else max(now_s, self._last_s + self._interval_s)
        self._offset_s = time_s - stamp_s
        self.ahead_s = 0.0
        return time_s

    def _breaks(self, time_s: float, now_s: float) -> bool:
        if self._last_s is None:
            return True
        silence_s = math.inf if self._silence_s is None else max(self._silence_s, GAP_STEPS * self._steps.typical_s)
        breaks = self._steps.breaks(time_s - self._last_s)
        return breaks or now_s - self._arrived_s > silence_s
