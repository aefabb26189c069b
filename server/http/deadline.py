"""The headers in which a client says how long it waits, and how urgent its clip is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from server.batching.clip_queue import Priority
from server.config.settings import LONGEST_DEADLINE_MS
from server.errors import InvalidError

DEADLINE_HEADER = "X-Deadline-Ms"
PRIORITY_HEADER = "X-Priority"

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
