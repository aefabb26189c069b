"""The timeline of what is live: presentation times, anchored to the wall clock; breaks where frames are missing."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from fractions import Fraction

# Decoders give frames in order; a step back is a sender that started anew.
BACK_S = 0.25

# A camera that is slower than the sampling has no gap between its frames, however far apart they are.
USUAL_STEPS = 3.0
REMEMBERED_STEPS = 9


class Clock:
    """Unix time in seconds that never steps, whatever is done to the machine's clock meanwhile."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def __call__(self) -> float:
        return self._offset_s + time.monotonic()


class LiveTimeline:
    """Places the frames of one connection.

    ``time_base`` is seconds per tick, ``interval_s`` what the stream says is between its frames. More than
    ``max_gap_s`` between two frames is a break, after which presentation times are anchored to ``clock`` anew. So is
    ``silence_s`` in which nothing arrived, whatever the time stamps say: for senders that may start anew behind the
    connection's back (``None``: for those that cannot).

    Frames that had been waiting somewhere come in one burst, the first of them anchored to a clock that has gone on:
    ``ahead_s`` is by how many seconds all of them lie too late, as far as is known.
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
        self._max_gap_s = max_gap_s
        self._silence_s = silence_s
        self._clock = clock
        self._steps_s = deque([interval_s], maxlen=REMEMBERED_STEPS)
        self._offset_s: float | None = None
        self._last_s: float | None = None
        self._arrived_s = 0.0
        self.ahead_s = 0.0

    def place(self, pts: int | None) -> tuple[float, float, bool]:
        """Give the next frame in presentation order its ``(time_s, duration_s, starts)``; ``pts`` is in ticks."""
        now_s = self._clock()
        time_s = now_s if pts is None else self._shifted(float(pts * self._time_base), now_s)
        starts = self._breaks(time_s, now_s)
        if starts and pts is not None:
            time_s = self._anchor(float(pts * self._time_base), now_s)
        elif self._last_s is not None:
            time_s = max(time_s, self._last_s)
        self._last_s, self._arrived_s = time_s, now_s
        self.ahead_s = max(self.ahead_s, time_s - now_s)
        return time_s, statistics.median(self._steps_s), starts

    def _shifted(self, stamp_s: float, now_s: float) -> float:
        # Frames before the first that has a time stamp were placed by the clock.
        return self._anchor(stamp_s, now_s) if self._offset_s is None else stamp_s + self._offset_s

    def _anchor(self, stamp_s: float, now_s: float) -> float:
        """Have ``stamp_s`` be now, or just after the frame before where that is later."""
        time_s = now_s if self._last_s is None else max(now_s, self._last_s + self._interval_s)
        self._offset_s = time_s - stamp_s
        self.ahead_s = 0.0
        return time_s

    def _breaks(self, time_s: float, now_s: float) -> bool:
        if self._last_s is None:
            return True
        step_s = time_s - self._last_s
        usual_s = statistics.median(self._steps_s)
        if step_s >= 0:
            self._steps_s.append(step_s)
        silent = self._silence_s is not None and now_s - self._arrived_s > max(self._silence_s, USUAL_STEPS * usual_s)
        return silent or not -BACK_S <= step_s <= max(self._max_gap_s, USUAL_STEPS * usual_s)
