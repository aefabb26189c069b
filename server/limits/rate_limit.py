"""The number of requests that one client may send in a time."""

from __future__ import annotations

import math
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from engines.errors import ConfigurationError
from server.errors import RateLimitedError


class RateLimit:
    """Limits the requests of each client per second, minute, hour or day."""

    def __init__(self, text: str) -> None:
        """Parse ``text`` such as ``20/second`` or ``1000/hour``; raises ConfigurationError."""
        try:
            self._item: RateLimitItem = parse(text)
        except ValueError:
            raise ConfigurationError(
                f"{text!r} is not a rate", help="write a rate such as --rate-limit 20/second"
            ) from None
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def check(self, client: str) -> None:
        """Count a request of ``client``; raises RateLimitedError if it exceeds the limit."""
        if self._limiter.hit(self._item, client):
            return
        reset_s = self._limiter.get_window_stats(self._item, client).reset_time - time.time()
        raise RateLimitedError(f"more than {self._item} with one key", retry_after_s=max(1, math.ceil(reset_s)))
