"""One coroutine per endpoint; ``server/routes.py`` says where each of them is."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from aiohttp import hdrs, web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from server.api.answers import Alive, Health, Index, Models, Ready, Status, model_of, summary_of
from server.clips.clip_reader import ENCODINGS
from server.config.version import VERSION
from server.http.context import SERVICE
from server.http.endpoint import ENDPOINTS, JSON_TYPE
from server.serving.service import State


async def health(request: web.Request) -> web.Response:
    """200 while the service takes work, else 503 with what it is doing."""
    service = request.app[SERVICE]
    status: Status = service.state.value
    answer = Health(status, model_loaded=service.model is not None)
    return _json(answer, HTTPStatus.OK if service.state is State.READY else HTTPStatus.SERVICE_UNAVAILABLE)


async def live(request: web.Request) -> web.Response:
    """200 as long as the event loop turns."""
    return _json(Alive("alive"))


async def ready(request: web.Request) -> web.Response:
    """200 when work is accepted; 503 with Retry-After otherwise."""
    request.app[SERVICE].check_ready()
    return _json(Ready("ready"))


async def metrics(request: web.Request) -> web.Response:
    """For Prometheus."""
    figures = request.app[SERVICE].metrics.text()
    return web.Response(body=figures, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_PLAIN_0_0_4})


async def models(request: web.Request) -> web.Response:
    """All that is known of the model in service; 503 with Retry-After while there is none."""
    return _json(Models([model_of(request.app[SERVICE].loaded(), VERSION)]))


async def index(request: web.Request) -> web.Response:
    """Who answers here, with which model, and where."""
    model = request.app[SERVICE].model
    endpoints = sorted(f"{endpoint.method} {endpoint.path}" for endpoint in request.app[ENDPOINTS])
    summary = None if model is None else summary_of(model)
    return _json(Index("vjepa2-serve", VERSION, summary, endpoints, list(ENCODINGS)))


def _json(answer: msgspec.Struct, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(answer), content_type=JSON_TYPE)
