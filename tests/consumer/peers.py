"""What the tests see of the servers that they talk to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class LiveServer(Protocol):
    """The real service, on the demo bundle."""

    @property
    def url(self) -> str: ...


class Serve(Protocol):
    """Start a peer out of handlers; one that is not given is ready, or else answers 404."""

    async def __call__(
        self,
        infer: Handler | None = None,
        *,
        ready: Handler | None = None,
        index: Handler | None = None,
        models: Handler | None = None,
    ) -> str: ...


def busy(retry_after: str) -> web.Response:
    """503, with the pause in seconds that it asks for."""
    problem = {"title": "Service Unavailable", "status": 503, "detail": "the queue is full"}
    headers = {"Retry-After": retry_after}
    return web.json_response(problem, status=503, headers=headers, content_type="application/problem+json")


def predictions(clip_id: str = "a") -> web.Response:
    """A good answer."""
    best = [{"label": "Pushing [something]", "confidence": 0.75}]
    return web.json_response({"predictions": best, "clip_id": clip_id, "model": "m", "timings_ms": {"total": 1.5}})
