"""How often one client may ask."""

from __future__ import annotations

import math
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from engines.errors import ConfigurationError
from server.errors import RateLimitedError


class RateLimit:
    """So many requests a second, minute, hour or day, each client for itself."""

    def __init__(self, text: str) -> None:
        """``text``: ``20/second``, ``1000/hour``; raises ConfigurationError."""
        try:
            self._item: RateLimitItem = parse(text)
        except ValueError:
            raise ConfigurationError(f"{text!r} is no rate", help="write --rate-limit 20/second") from None
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def check(self, client: str) -> None:
        """Count a request of ``client``; raises RateLimitedError when it is one too many."""
        if self._limiter.hit(self._item, client):
            return
        reset_s = self._limiter.get_window_stats(self._item, client).reset_time - time.time()
        raise RateLimitedError(f"more than {self._item} with one key", retry_after_s=max(1, math.ceil(reset_s)))
