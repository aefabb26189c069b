"""Time limits that end a block of code with an error of this service instead of TimeoutError."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from engines.errors import ServiceError
from server.errors import DeadlineError


@contextlib.asynccontextmanager
async def until(deadline_s: float, deadline_ms: int) -> AsyncIterator[None]:
    """Cancel the block at ``deadline_s`` of the event loop's clock; raise DeadlineError that names ``deadline_ms``."""
    late = DeadlineError(f"not answered within the {deadline_ms} ms that the request had")
    async with limited(asyncio.timeout_at(deadline_s), late):
        yield


@contextlib.asynccontextmanager
async def limited(limit: asyncio.Timeout, late: ServiceError) -> AsyncIterator[None]:
    """Cancel the block at ``limit`` and raise ``late``; a TimeoutError that the block itself raises is not replaced."""
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise late from None
