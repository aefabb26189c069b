"""The handlers that describe the service and its model; ``server/api/routes.py`` says where each of them is."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from aiohttp import hdrs, web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from server.api.answers import Alive, Health, Ready, Status
from server.api.model_answers import Index, Model, Models, model_of, summary_of
from server.clips.clip_reader import ENCODINGS
from server.config.version import VERSION
from server.http.context import SERVICE
from server.http.endpoint import ENDPOINTS, JSON_TYPE
from server.serving.models.served_model import ServedModel
from server.serving.service import Service, State


async def health(request: web.Request) -> web.Response:
    """200 in the state ``healthy``, otherwise 503; the body names the state."""
    service = request.app[SERVICE]
    state = service.health
    status: Status = state.value
    answer = Health(status, model_loaded=bool(service.models.ready()))
    return _json(answer, HTTPStatus.OK if state is State.READY else HTTPStatus.SERVICE_UNAVAILABLE)


async def live(request: web.Request) -> web.Response:
    """200 as long as the event loop runs."""
    return _json(Alive("alive"))


async def ready(request: web.Request) -> web.Response:
    """200 in the state ``healthy`` while a decode thread is left; otherwise raises NotReadyError.

    With ``model`` in the query, only while that model is in service; raises NotFoundError.
    """
    service, name = request.app[SERVICE], request.query.get("model")
    service.check_ready(None if name is None else service.models.of(name))
    return _json(Ready("ready"))


async def metrics(request: web.Request) -> web.Response:
    """All metrics for Prometheus."""
    text = request.app[SERVICE].metrics.text()
    return web.Response(body=text, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_PLAIN_0_0_4})


async def models(request: web.Request) -> web.Response:
    """Describe the models in service; raises NotReadyError until one is loaded."""
    service = request.app[SERVICE]
    service.loaded()
    return _json(Models([_described(service, model) for model in service.models.ready()]))


def _described(service: Service, served: ServedModel) -> Model:
    return model_of(served.deployed().model, served.name, service.fitting_heads(served).values(), VERSION)


async def index(request: web.Request) -> web.Response:
    """Describe the service: its version, its model, its endpoints and its encodings."""
    service = request.app[SERVICE]
    model = service.loaded() if service.models.ready() else None
    endpoints = sorted(f"{endpoint.method} {endpoint.path}" for endpoint in request.app[ENDPOINTS])
    summary = None if model is None else summary_of(model)
    return _json(Index("vjepa2-serve", VERSION, summary, endpoints, list(ENCODINGS)))


def _json(answer: msgspec.Struct, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(answer), content_type=JSON_TYPE)
