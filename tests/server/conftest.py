"""A session to the live server and a clip to send it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from export.demo.clips import Clip, render_clip
from tests.live_server import LiveServer


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    body: dict[str, Any]


Post = Callable[..., Awaitable[Answer]]


@pytest.fixture(scope="session")
def clip() -> Clip:
    return render_clip(31_000_000, "Moving something up", size=(120, 160))


@pytest.fixture
async def session(live_server: LiveServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(live_server.url) as session:
        yield session


@pytest.fixture
def post(session: aiohttp.ClientSession) -> Post:
    """POST to /api/v1/infer: ``json=`` or ``data=`` and whatever else aiohttp takes."""

    async def send(**request: Any) -> Answer:
        async with session.post("/api/v1/infer", **request) as response:
            return Answer(response.status, response.headers, await response.json(content_type=None))

    return send
