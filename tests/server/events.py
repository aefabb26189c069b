"""Reads ``GET /api/v1/events``."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp


class Events:
    """The events of one client as they come; ``last_id`` is that of the newest."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.last_id = ""
        self._answer = answer

    async def next(self, *names: str) -> dict[str, Any]:
        """The data of the next event of one of ``names``, with its ``event``; others are dropped."""
        async with asyncio.timeout(60):
            while True:
                fields = dict(line.split(": ", 1) for line in (await self._block()).splitlines())
                self.last_id = fields.get("id", self.last_id)
                if fields.get("event") in names:
                    return {"event": fields["event"], **json.loads(fields["data"])}

    async def ended(self) -> bool:
        async with asyncio.timeout(60):
            while await self._answer.content.readany():
                pass
        return True

    async def _block(self) -> str:
        block = await self._answer.content.readuntil(b"\n\n")
        assert block, "the events have ended"
        return block.decode().strip("\n")


@contextlib.asynccontextmanager
async def watching(
    session: aiohttp.ClientSession, last_id: str = "", *, query: str = "", **headers: str
) -> AsyncIterator[Events]:
    """The events of all streams, from the one after ``last_id`` on if it is given."""
    sent = headers | ({"Last-Event-ID": last_id} if last_id else {})
    async with session.get(f"/api/v1/events{query}", headers=sent) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        yield Events(answer)
