"""Retrying: how long to wait before something that failed is tried again."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_ASKED_S = 300.0
"""What is asked for beyond this is taken for a mistake."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double from ``first_s`` to ``longest_s``, each shortened by up to half at random.

    Without the randomness, all consumers of a service that was away would come back in the same instant.
    """

    first_s: float = 0.5
    longest_s: float = 30.0

    def pause_s(self, failures: int, asked_s: float | None = None) -> float:
        """Seconds to wait after that many failures in a row (1 or more), or a little more than was ``asked_s``."""
        if asked_s is not None:
            return asked_s + random.uniform(0.0, 0.1 + asked_s / 4)  # noqa: S311
        doubled_s = self.first_s * 2.0 ** min(failures - 1, 30)
        return min(doubled_s, self.longest_s) * random.uniform(0.5, 1.0)  # noqa: S311


def retry_after_s(header: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, whether as a number or as a date; ``None`` without one."""
    if header is None:
        return None
    text = header.strip()
    if text.isdecimal():
        return min(float(text), LONGEST_ASKED_S)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    left_s = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - datetime.now(UTC).timestamp()
    return min(max(left_s, 0.0), LONGEST_ASKED_S)


@dataclass(slots=True)
class Patience:
    """Time left for waiting; ``None`` is for ever."""

    seconds: float | None
    _since_s: float = 0.0

    def __post_init__(self) -> None:
        self._since_s = time.monotonic()

    @property
    def waited_s(self) -> float:
        """Seconds since the waiting began."""
        return time.monotonic() - self._since_s

    def left_s(self, pause_s: float) -> float | None:
        """``pause_s``, or less where that is all that is left, or ``None`` when nothing is left."""
        if self.seconds is None:
            return pause_s
        left_s = self.seconds - self.waited_s
        return None if left_s <= 0 else min(pause_s, left_s)
