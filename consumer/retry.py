"""How long to wait before a failed operation is tried again."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_S = 300.0
"""Longer ``Retry-After`` pauses are treated as a mistake of the service and shortened to this."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that double from ``first_s`` to ``longest_s`` seconds, each shortened at random by up to half.

    The randomness keeps many consumers from returning to a recovered service at the same instant.
    """

    first_s: float = 0.5
    longest_s: float = 30.0

    def pause_s(self, failures: int, requested_s: float | None = None) -> float:
        """Seconds to wait after ``failures`` failures in a row (at least 1), or slightly more than ``requested_s``."""
        if requested_s is not None:
            return requested_s + random.uniform(0.0, 0.1 + requested_s / 4)  # noqa: S311
        doubled_s = self.first_s * 2.0 ** min(failures - 1, 30)
        return min(doubled_s, self.longest_s) * random.uniform(0.5, 1.0)  # noqa: S311


def retry_after_s(header: str | None) -> float | None:
    """The seconds that a ``Retry-After`` header asks for, as a number or a date; ``None`` without a valid header."""
    if header is None:
        return None
    text = header.strip()
    if text.isdecimal():
        return min(float(text), MAX_RETRY_AFTER_S)
    try:
        date = parsedate_to_datetime(text)
        left_s = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - datetime.now(UTC).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        # Beside ValueError, the parser of the standard library raises these for dates that are none.
        return None
    return min(max(left_s, 0.0), MAX_RETRY_AFTER_S)


@dataclass(slots=True)
class WaitBudget:
    """A limit in seconds for a wait that starts now; ``None`` means no limit."""

    seconds: float | None
    _since_s: float = 0.0

    def __post_init__(self) -> None:
        self._since_s = time.monotonic()

    @property
    def waited_s(self) -> float:
        """Seconds since the wait began."""
        return time.monotonic() - self._since_s

    def left_s(self, pause_s: float) -> float | None:
        """``pause_s``, shortened to the time left; ``None`` if no time is left."""
        if self.seconds is None:
            return pause_s
        left_s = self.seconds - self.waited_s
        return None if left_s <= 0 else min(pause_s, left_s)
