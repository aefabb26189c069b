"""A clip's way from the request's header to its answer."""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from engines.clip import Clip
from server.batching.clip_queue import Classified
from server.clips.clip_reader import Intake, Source, intake_of
from server.clips.infer_request import InferAnswer, top_predictions
from server.clips.request_fields import Asked
from server.http.deadline import asked_deadline_ms, asked_priority, until
from server.http.middleware import FIRST_BYTE_S, LOG_FIELDS
from server.http.request_body import Body
from server.limits.admission import Holding
from server.serving.deployment import Deployment
from server.serving.service import SERVICE, Service
from server.telemetry.phases import PhasesMs


async def infer(request: web.Request) -> web.Response:
    """Classify the clip in the body in the time that its client has; what is held for it goes back whatever happens."""
    service = request.app[SERVICE]
    deadline_ms = asked_deadline_ms(request.headers, service.settings.deadline_ms)
    deadline_s = request[FIRST_BYTE_S] + deadline_ms / 1e3
    async with until(deadline_s, deadline_ms):
        with service.accepted() as deployment, service.admission.holding() as holding:
            call = _Call(request, service, deployment, holding)
            return call.answer(*await call.classified(deadline_s))


class _Call:
    """One request's steps, each of which may refuse it."""

    def __init__(self, request: web.Request, service: Service, deployment: Deployment, holding: Holding) -> None:
        self._request = request
        self._service = service
        self._deployment = deployment
        self._holding = holding
        self._phases = PhasesMs()

    async def classified(self, deadline_s: float) -> tuple[Asked, Classified]:
        priority = asked_priority(self._request.headers)
        intake = self._intake()
        await self._read(intake)
        with self._service.admission.place():
            asked, clip = await self._decode(intake)
            return asked, await self._deployment.batcher.classify(clip, deadline_s, priority)

    def answer(self, asked: Asked, classified: Classified) -> web.Response:
        manifest = self._deployment.engine.manifest
        predictions = top_predictions(classified.probabilities, manifest.labels, asked.top_k)
        self._phases.classified(classified)
        self._phases.total = self._elapsed_ms()
        self._account(asked.clip_id, predictions[0].label)
        return _response(InferAnswer(predictions, asked.clip_id, manifest.source.model, self._phases.timings()))

    def _intake(self) -> Intake:
        settings = self._service.settings
        body = Body(self._request, settings.max_body_bytes, settings.body_timeout_s, self._holding)
        return intake_of(Source(body, self._deployment.engine, self._service.decoders, settings.max_clip_bytes))

    async def _read(self, intake: Intake) -> None:
        """The body, unless the header alone tells that it is not wanted."""
        intake.check()
        self._service.admission.check(self._request.content_length or 0)
        with self._service.admission.reading(self._holding):
            await intake.read()
        self._phases.read = self._elapsed_ms()

    async def _decode(self, intake: Intake) -> tuple[Asked, Clip]:
        began_ms = self._elapsed_ms()
        decoded = await intake.decode()
        self._phases.decode = self._elapsed_ms() - began_ms
        return decoded

    def _elapsed_ms(self) -> float:
        return (asyncio.get_running_loop().time() - self._request[FIRST_BYTE_S]) * 1e3

    def _account(self, clip_id: str, top: str) -> None:
        self._service.metrics.answered(self._phases, top)
        self._request[LOG_FIELDS] |= {"clip_id": clip_id, "top": top, "timings_ms": dict(self._phases.of_clip())}


def _response(answer: InferAnswer) -> web.Response:
    phases = msgspec.structs.asdict(answer.timings_ms)
    response = web.Response(body=msgspec.json.encode(answer), content_type="application/json")
    response.headers["Server-Timing"] = ", ".join(f"{phase};dur={ms}" for phase, ms in phases.items())
    return response
