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
        self, infer: Handler | None = None, *, ready: Handler | None = None, index: Handler | None = None
    ) -> str: ...
