"""A clip's way from the request's header to its answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
from aiohttp import web

from engines.clip import Clip
from engines.engine import Engine
from engines.errors import UnsupportedMediaError
from server.admission import Holding
from server.body import check_length, read_body
from server.clip_queue import Classified
from server.deadline import asked_deadline_ms, asked_priority, until
from server.decode import decode_clip
from server.deployment import Deployment
from server.middleware import FIRST_BYTE_S, LOG_FIELDS
from server.phases import PhasesMs
from server.service import SERVICE, Service
from server.wire import InferAnswer, parse_infer, top_predictions


async def infer(request: web.Request) -> web.Response:
    """Classify the clip in the body in the time that its client has; what is held for it goes back whatever happens."""
    service = request.app[SERVICE]
    deadline_ms = asked_deadline_ms(request.headers, service.settings.deadline_ms)
    deadline_s = request[FIRST_BYTE_S] + deadline_ms / 1e3
    async with until(deadline_s, deadline_ms):
        with service.accepted() as deployment, service.admission.holding() as holding:
            call = _Call(request, service, deployment, holding)
            return call.answer(*await call.classified(deadline_s))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is still needed of a request once its clip is decoded; its frames would keep the whole body."""

    clip_id: str
    top_k: int


class _Call:
    """One request's steps, each of which may refuse it."""

    def __init__(self, request: web.Request, service: Service, deployment: Deployment, holding: Holding) -> None:
        self._request = request
        self._service = service
        self._deployment = deployment
        self._holding = holding
        self._phases = PhasesMs()

    async def classified(self, deadline_s: float) -> tuple[_Asked, Classified]:
        priority = asked_priority(self._request.headers)
        body = await self._read()
        with self._service.admission.place():
            asked, clip = await self._decode(body)
            self._holding.drop(len(body))
            del body
            return asked, await self._deployment.batcher.classify(clip, deadline_s, priority)

    def answer(self, asked: _Asked, classified: Classified) -> web.Response:
        manifest = self._deployment.engine.manifest
        predictions = top_predictions(classified.probabilities, manifest.labels, asked.top_k)
        self._phases.classified(classified)
        self._phases.total = self._elapsed_ms()
        self._account(asked.clip_id, predictions[0].label)
        return _response(InferAnswer(predictions, asked.clip_id, manifest.source.model, self._phases.timings()))

    async def _read(self) -> bytes:
        """The body, unless the header alone tells that it is not wanted."""
        settings = self._service.settings
        _check_content_type(self._request)
        check_length(self._request, settings.max_body_bytes)
        self._service.admission.check(self._request.content_length or 0)
        with self._service.admission.reading(self._holding):
            body = await read_body(self._request, settings.max_body_bytes, settings.body_timeout_s, self._holding)
        self._phases.read = self._elapsed_ms()
        return body

    async def _decode(self, body: bytes) -> tuple[_Asked, Clip]:
        began_ms = self._elapsed_ms()
        engine, limit_bytes = self._deployment.engine, self._service.settings.max_clip_bytes
        decoded = await self._service.decoders.run(_parse_and_decode, body, engine, limit_bytes, self._holding)
        self._phases.decode = self._elapsed_ms() - began_ms
        return decoded

    def _elapsed_ms(self) -> float:
        return (asyncio.get_running_loop().time() - self._request[FIRST_BYTE_S]) * 1e3

    def _account(self, clip_id: str, top: str) -> None:
        self._service.metrics.answered(self._phases, top)
        self._request[LOG_FIELDS] |= {"clip_id": clip_id, "top": top, "timings_ms": dict(self._phases.of_clip())}


def _check_content_type(request: web.Request) -> None:
    if request.content_type != "application/json":
        raise UnsupportedMediaError(
            f"Content-Type is {request.content_type}; accepted: application/json", field="Content-Type"
        )


def _parse_and_decode(body: bytes, engine: Engine, max_clip_bytes: int, holding: Holding) -> tuple[_Asked, Clip]:
    manifest = engine.manifest
    asked = parse_infer(body, frames=manifest.frames, labels=len(manifest.labels))

    def allocate(height: int, width: int) -> npt.NDArray[np.uint8]:
        holding.add(manifest.frames * height * width * 3)
        return engine.allocate(height, width)

    return _Asked(asked.clip_id, asked.top_k), decode_clip(asked, allocate, max_clip_bytes)


def _response(answer: InferAnswer) -> web.Response:
    phases = msgspec.structs.asdict(answer.timings_ms)
    response = web.Response(body=msgspec.json.encode(answer), content_type="application/json")
    response.headers["Server-Timing"] = ", ".join(f"{phase};dur={ms}" for phase, ms in phases.items())
    return response
