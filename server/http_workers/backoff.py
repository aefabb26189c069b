"""How long to wait before something that died is started again."""

from __future__ import annotations

import time

_FIRST_S = 0.5
_LONGEST_S = 30.0
# What lived so long died of something new.
_WELL_S = 60.0


class Backoff:
    """Not at all the first time, then twice as long each time, until it lives for a while."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._started_s = time.monotonic()

    def started(self) -> None:
        """It lives from now on."""
        self._started_s = time.monotonic()

    def died(self) -> float:
        """Or could not be started; seconds to wait now."""
        pause_s = 0.0 if time.monotonic() - self._started_s >= _WELL_S else self._next_s
        self._next_s = min(max(_FIRST_S, 2 * pause_s), _LONGEST_S)
        self._started_s = time.monotonic()
        return pause_s
