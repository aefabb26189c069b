"""One coroutine per endpoint."""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import PackageNotFoundError, version

import msgspec
from aiohttp import web

from engines.clip import Clip
from engines.engine import Engine
from engines.errors import TooLargeError, UnsupportedMediaError
from server.batcher import Classified
from server.decode import decode_clip
from server.service import Service, State
from server.wire import InferAnswer, InferRequest, TimingsMs, parse_infer, top_predictions

SERVICE = web.AppKey("service", Service)
# What the access log tells of a request besides its status.
LOG_FIELDS = web.RequestKey("log_fields", dict)

routes = web.RouteTableDef()

try:
    VERSION = version("vjepa2-serve")
except PackageNotFoundError:
    VERSION = "unreleased"


@routes.post("/api/v1/infer")
async def infer(request: web.Request) -> web.Response:
    """Classify the clip in the body."""
    started_s = time.perf_counter()
    service = request.app[SERVICE]
    with service.accepted() as (engine, batcher):
        asked, clip, decode_ms = await _receive(request, service, engine)
        classified = await batcher.classify(clip)
    return _answer(request, engine, asked, classified, decode_ms, started_s)


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
    request.app[SERVICE].ready()
    return _json({"status": "ready"})


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


async def _receive(request: web.Request, service: Service, engine: Engine) -> tuple[InferRequest, Clip, float]:
    """What was asked, its clip, and how long its decoding took once the body was there, in milliseconds."""
    _check_content_type(request)
    body = await _read_body(request, service.settings.max_body_bytes)
    received_s = time.perf_counter()
    asked, clip = await asyncio.get_running_loop().run_in_executor(
        service.decoders, _parse_and_decode, body, engine, service.settings.max_clip_bytes
    )
    return asked, clip, (time.perf_counter() - received_s) * 1e3


def _check_content_type(request: web.Request) -> None:
    if request.content_type != "application/json":
        raise UnsupportedMediaError(
            f"Content-Type is {request.content_type}; accepted: application/json", field="Content-Type"
        )


async def _read_body(request: web.Request, max_body_bytes: int) -> bytes:
    """The whole body; refused by its announced length where there is one, else as soon as it grows too large."""
    announced = request.content_length
    if announced is not None and announced > max_body_bytes:
        raise TooLargeError(f"the body has {announced} bytes; accepted: at most {max_body_bytes}")
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise TooLargeError(f"the body has more than the accepted {max_body_bytes} bytes") from None


def _parse_and_decode(body: bytes, engine: Engine, max_clip_bytes: int) -> tuple[InferRequest, Clip]:
    manifest = engine.manifest
    asked = parse_infer(body, frames=manifest.frames, labels=len(manifest.labels))
    return asked, decode_clip(asked, engine.allocate, max_clip_bytes)


def _answer(
    request: web.Request,
    engine: Engine,
    asked: InferRequest,
    classified: Classified,
    decode_ms: float,
    started_s: float,
) -> web.Response:
    predictions = top_predictions(classified.probabilities, engine.manifest.labels, asked.top_k)
    timings = TimingsMs(
        decode=round(decode_ms, 3),
        queue=round(classified.queue_ms, 3),
        infer=round(classified.infer_ms, 3),
        total=round((time.perf_counter() - started_s) * 1e3, 3),
    )
    phases = msgspec.structs.asdict(timings)
    request[LOG_FIELDS] = {"clip_id": asked.clip_id, "top": predictions[0].label, "timings_ms": phases}
    answer = _json(InferAnswer(predictions, asked.clip_id, engine.manifest.source.model, timings))
    answer.headers["Server-Timing"] = ", ".join(f"{phase};dur={ms}" for phase, ms in phases.items())
    return answer


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
