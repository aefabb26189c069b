"""The timeline of a recording: the time of each frame in seconds, even if its time stamp is missing or jumps."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

F = TypeVar("F")

# A longer step back means an appended recording or a counter that wrapped, not frames out of order.
DISCONTINUITY_S = 1.0


@dataclass(frozen=True, slots=True)
class Timed(Generic[F]):
    """A frame shown from ``time_s`` for ``duration_s`` seconds; ``starts`` marks the first frame after a break.

    Times are seconds since the start of a recording, or Unix time for live sources.
    """

    time_s: float
    duration_s: float
    frame: F
    starts: bool = False


class Timeline:
    """Turns presentation time stamps into seconds that start near zero and never decrease.

    ``time_base`` is seconds per tick; ``start_s`` is the start time in the container (``None`` if it has none);
    ``interval_s`` is the duration of frames that have none of their own.
    """

    def __init__(self, time_base: Fraction, start_s: float | None, interval_s: float) -> None:
        self._time_base = time_base
        self._start_s = start_s
        self._interval_s = interval_s
        self._offset_s: float | None = None
        self._last_s = 0.0
        self._next_s = 0.0

    def place(self, pts: int | None, duration: int | None) -> tuple[float, float]:
        """Return ``(time_s, duration_s)`` of the next frame in presentation order; the arguments are in ticks."""
        duration_s = float(duration * self._time_base) if duration else self._interval_s
        time_s = self._next_s if pts is None else self._shift(float(pts * self._time_base))
        self._last_s = max(time_s, self._last_s)
        self._next_s = self._last_s + duration_s
        return self._last_s, duration_s

    def _shift(self, stamp_s: float) -> float:
        if self._offset_s is None:
            # Counted from the container's start, times match those in a player, even if the sound starts first.
            self._offset_s = self._next_s - min(stamp_s, stamp_s if self._start_s is None else self._start_s)
        if stamp_s + self._offset_s < self._last_s - DISCONTINUITY_S:
            self._offset_s = self._next_s - stamp_s
        return stamp_s + self._offset_s
