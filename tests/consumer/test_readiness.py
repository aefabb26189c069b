"""What a client asks of a service before the first clip: whether it is ready, and what its model is."""

from __future__ import annotations

import pytest
from aiohttp import web

from consumer.client.async_client import AsyncClient
from consumer.client.wire import Model
from consumer.errors import ServiceRefusedError, ServiceUnreachableError
from tests.consumer.peers import Serve, busy
from tests.consumer.processes import UNREACHABLE_URL


async def test_wait_ends_when_the_service_is_ready(serve: Serve) -> None:
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


async def test_wait_limit_raises_unreachable() -> None:
    async with AsyncClient(UNREACHABLE_URL, retries=0) as service:
        with pytest.raises(ServiceUnreachableError, match=r"is not ready after 0\.2 s: .*connection refused"):
            await service.wait_until_ready(wait_s=0.2)


async def test_foreign_server_raises_at_once(serve: Serve) -> None:
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
async def test_model_is_read_from_the_summary(serve: Serve, body: str, model: Model | None) -> None:
    async def index(request: web.Request) -> web.Response:
        return web.Response(text=body)

    async with AsyncClient(await serve(index=index)) as service:
        assert await service.model() == model


ABSURD = [{"frames": 0}, {"frames": -16}, {"frames": 10**9}, {"frames": "16"}, {"frames": 16, "crop": -1}, {}, [], None]


@pytest.mark.parametrize("description", ABSURD, ids=str)
async def test_absurd_description_of_the_model_is_reported_and_not_used(
    serve: Serve, description: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def models(request: web.Request) -> web.Response:
        return web.json_response({"models": [description]})

    async with AsyncClient(await serve(models=models)) as service:
        assert await service.model() is None
    assert caplog.messages == ["the service does not describe its model in a usable way"]


async def test_service_that_redirects_is_refused_at_the_start(serve: Serve) -> None:
    async def ready(request: web.Request) -> web.Response:
        raise web.HTTPMovedPermanently("https://user:secret@elsewhere/health/ready")

    async with AsyncClient(await serve(ready=ready)) as service:
        with pytest.raises(ServiceRefusedError) as raised:
            await service.wait_until_ready(wait_s=60)
    assert str(raised.value) == (
        "the service refused the request with 301 redirect to https://elsewhere/health/ready: redirects are not"
        " followed; help: set --service-url to the address at which the service itself answers"
    )


async def test_service_without_summary_has_no_model(serve: Serve) -> None:
    async with AsyncClient(await serve()) as service:
        assert await service.model() is None
