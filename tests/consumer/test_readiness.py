"""What a client asks of a service before the first clip: whether it is ready, and what its model is."""

from __future__ import annotations

import pytest
from aiohttp import web

from consumer.client.async_client import AsyncClient
from consumer.client.wire import Model
from consumer.errors import ServiceRefusedError, ServiceUnreachableError
from tests.consumer.peers import Serve, busy
from tests.consumer.processes import NOBODY


async def test_waiting_ends_when_the_service_gets_ready(serve: Serve) -> None:
    polls: list[None] = []

    async def ready(request: web.Request) -> web.Response:
        polls.append(None)
        return busy("1") if len(polls) < 4 else web.json_response({})

    async with AsyncClient(await serve(ready=ready)) as service:
        await service.wait_until_ready(wait_s=60)
    assert len(polls) == 4


async def test_a_ready_service_is_not_waited_for(serve: Serve) -> None:
    async with AsyncClient(await serve()) as service:
        await service.wait_until_ready(wait_s=0)


async def test_waiting_has_an_end() -> None:
    async with AsyncClient(NOBODY, retries=0) as service:
        with pytest.raises(ServiceUnreachableError, match=r"is not ready after 0\.2 s: .*connection refused"):
            await service.wait_until_ready(wait_s=0.2)


async def test_another_kind_of_server_is_not_waited_for(serve: Serve) -> None:
    async def ready(request: web.Request) -> web.Response:
        raise web.HTTPNotFound

    async with AsyncClient(await serve(ready=ready), retries=0) as service:
        with pytest.raises(ServiceRefusedError, match="404 Not Found; help: check that --service-url"):
            await service.wait_until_ready(wait_s=60)


@pytest.mark.parametrize(
    ("body", "model"),
    [
        ('{"model": {"frames": 64, "name": "m", "crop": 384, "max_batch": 8}}', Model(64, "m", 384)),
        ('{"model": null}', None),
        ('{"model": {}}', None),
        ("hello", None),
    ],
)
async def test_the_model_is_asked_for(serve: Serve, body: str, model: Model | None) -> None:
    async def index(request: web.Request) -> web.Response:
        return web.Response(text=body)

    async with AsyncClient(await serve(index=index)) as service:
        assert await service.model() == model


async def test_a_service_without_a_front_page_does_not_say_its_model(serve: Serve) -> None:
    async with AsyncClient(await serve()) as service:
        assert await service.model() is None
