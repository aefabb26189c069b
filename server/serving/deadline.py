"""Time limits that end a block of work with an error of the service's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from engines.errors import ServiceError
from server.errors import DeadlineError


@contextlib.asynccontextmanager
async def until(deadline_s: float, deadline_ms: int) -> AsyncIterator[None]:
    """End the block at ``deadline_s`` of the event loop's clock and raise DeadlineError; it names ``deadline_ms``."""
    late = DeadlineError(f"not answered within the {deadline_ms} ms that the request had")
    async with limited(asyncio.timeout_at(deadline_s), late):
        yield


@contextlib.asynccontextmanager
async def limited(limit: asyncio.Timeout, late: ServiceError) -> AsyncIterator[None]:
    """End the block at ``limit`` and raise ``late``; a TimeoutError that the block itself raises passes."""
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise late from None
