"""How long a client waits: what it says, and what ends when the time is over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import get_args

from engines.errors import DeadlineError, InvalidError, ServiceError
from server.batching.clip_queue import Priority

DEADLINE_HEADER = "X-Deadline-Ms"
PRIORITY_HEADER = "X-Priority"
LONGEST_DEADLINE_MS = 600_000

_PRIORITIES: tuple[Priority, ...] = get_args(Priority)


def asked_deadline_ms(headers: Mapping[str, str], default_ms: int) -> int:
    """Milliseconds from ``X-Deadline-Ms``, else ``default_ms``; raises InvalidError."""
    text = headers.get(DEADLINE_HEADER)
    if text is None:
        return default_ms
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= LONGEST_DEADLINE_MS):
        raise InvalidError(
            f"{DEADLINE_HEADER} is {text[:32]!r}; accepted: 1 to {LONGEST_DEADLINE_MS}", field=DEADLINE_HEADER
        )
    return int(text)


def asked_priority(headers: Mapping[str, str]) -> Priority:
    """From ``X-Priority``, else ``normal``; raises InvalidError."""
    text = headers.get(PRIORITY_HEADER, "normal")
    for known in _PRIORITIES:
        if text == known:
            return known
    raise InvalidError(f"{PRIORITY_HEADER} is {text[:32]!r}; accepted: {', '.join(_PRIORITIES)}", field=PRIORITY_HEADER)


@contextlib.asynccontextmanager
async def until(deadline_s: float, deadline_ms: int) -> AsyncIterator[None]:
    """Ends the block at ``deadline_s`` of the event loop's clock; raises DeadlineError then."""
    late = DeadlineError(f"not answered within the {deadline_ms} ms that the request had")
    async with limited(asyncio.timeout_at(deadline_s), late):
        yield


@contextlib.asynccontextmanager
async def limited(limit: asyncio.Timeout, late: ServiceError) -> AsyncIterator[None]:
    """Ends the block at ``limit`` and raises ``late`` then; a TimeoutError of the block's own passes."""
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise late from None
