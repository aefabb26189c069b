"""The timeline of a recording: where each frame lies in seconds, whatever its time stamps look like."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

F = TypeVar("F")

# A step back this long is a new recording glued on (or a wrapped counter), not frames that got out of order.
DISCONTINUITY_S = 1.0


@dataclass(frozen=True, slots=True)
class Timed(Generic[F]):
    """A frame shown from ``time_s`` for ``duration_s``; ``starts`` marks one that nothing before goes on to.

    Times are seconds since the start of a recording, or Unix time in seconds of what is live.
    """

    time_s: float
    duration_s: float
    frame: F
    starts: bool = False


class Timeline:
    """Turns presentation time stamps into seconds that start near zero and never go back.

    ``time_base`` is seconds per tick; ``start_s`` is when the container says it starts (``None`` if it does not);
    ``interval_s`` is the usual time between frames, for frames that do not say how long they last.
    """

    def __init__(self, time_base: Fraction, start_s: float | None, interval_s: float) -> None:
        self._time_base = time_base
        self._start_s = start_s
        self._interval_s = interval_s
        self._offset_s: float | None = None
        self._last_s = 0.0
        self._next_s = 0.0

    def place(self, pts: int | None, duration: int | None) -> tuple[float, float]:
        """Give the next frame in presentation order its ``(time_s, duration_s)``; ticks in, seconds out."""
        duration_s = float(duration * self._time_base) if duration else self._interval_s
        time_s = self._next_s if pts is None else self._shift(float(pts * self._time_base))
        self._last_s = max(time_s, self._last_s)
        self._next_s = self._last_s + duration_s
        return self._last_s, duration_s

    def _shift(self, stamp_s: float) -> float:
        if self._offset_s is None:
            # Counting from the container's start keeps the time a player shows, even if sound comes first.
            self._offset_s = self._next_s - min(stamp_s, stamp_s if self._start_s is None else self._start_s)
        if stamp_s + self._offset_s < self._last_s - DISCONTINUITY_S:
            self._offset_s = self._next_s - stamp_s
        return stamp_s + self._offset_s
