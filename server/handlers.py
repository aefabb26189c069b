"""One coroutine per endpoint."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import msgspec
from aiohttp import hdrs, web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from engines.engine import Engine
from server.body import no_expectations
from server.infer import infer
from server.middleware import INFER_PATH
from server.service import SERVICE, State

routes = web.RouteTableDef()
routes.post(INFER_PATH, expect_handler=no_expectations)(infer)

try:
    VERSION = version("vjepa2-serve")
except PackageNotFoundError:
    VERSION = "unreleased"


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    """200 while the service takes work, else 503 with what it is doing."""
    service = request.app[SERVICE]
    body = {"status": service.state.value, "model_loaded": service.engine is not None}
    return _json(body, status=200 if service.state is State.READY else 503)


@routes.get("/health/live")
async def live(request: web.Request) -> web.Response:
    """200 as long as the event loop turns."""
    return _json({"status": "alive"})


@routes.get("/health/ready")
async def ready(request: web.Request) -> web.Response:
    """200 when work is accepted; 503 with Retry-After otherwise."""
    request.app[SERVICE].check_ready()
    return _json({"status": "ready"})


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    """For Prometheus."""
    figures = await request.app[SERVICE].metrics.scrape()
    return web.Response(body=figures, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_PLAIN_0_0_4})


@routes.get("/")
async def index(request: web.Request) -> web.Response:
    """Who answers here, with which model, and where."""
    engine = request.app[SERVICE].engine
    return _json(
        {
            "service": "vjepa2-serve",
            "version": VERSION,
            "model": None if engine is None else _model(engine),
            "endpoints": sorted(f"{route.method} {route.path}" for route in routes if isinstance(route, web.RouteDef)),
        }
    )


def _model(engine: Engine) -> dict[str, object]:
    manifest = engine.manifest
    return {
        "name": manifest.source.model,
        "frames": manifest.frames,
        "crop": manifest.preprocessing.crop,
        "labels": len(manifest.labels),
        "max_batch": manifest.max_batch,
        "target": manifest.target,
        "precision": engine.precision,
        "device": engine.device_name,
        "random_weights": manifest.source.random_weights,
    }


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")
