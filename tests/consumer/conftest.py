"""Peers that misbehave, as the real service cannot be told to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.consumer.peers import Handler, Serve


@pytest.fixture
def serve(aiohttp_server: Callable[[web.Application], Awaitable[TestServer]]) -> Serve:
    async def start(
        infer: Handler | None = None,
        *,
        ready: Handler | None = None,
        index: Handler | None = None,
        models: Handler | None = None,
    ) -> str:
        app = web.Application(client_max_size=2**28)
        app.router.add_get("/health/ready", ready or _ready)
        if infer:
            app.router.add_post("/api/v1/infer", infer)
        if models:
            app.router.add_get("/api/v1/models", models)
        if index:
            app.router.add_get("/", index)
        return str((await aiohttp_server(app)).make_url("/"))

    return start


async def _ready(request: web.Request) -> web.Response:
    return web.json_response({"status": "ready"})
