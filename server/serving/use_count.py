"""Counts who uses something, and lets others wait until nobody does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


class UseCount:
    """Invariants: belongs to the event loop. ``_unused`` is set if and only if ``users`` is 0."""

    def __init__(self) -> None:
        self.users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Count the block as a user."""
        self.users += 1
        self._unused.clear()
        try:
            yield
        finally:
            self.users -= 1
            if not self.users:
                self._unused.set()

    async def unused(self, timeout_s: float | None = None) -> bool:
        """Wait until nobody is left; return False after ``timeout_s`` (None: no limit)."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._unused.wait(), timeout_s)
        return not self.users
