"""``POST /api/v1/infer``: classifies a clip that is sent over HTTP."""

from __future__ import annotations

import msgspec
from aiohttp import web

from server.api.answers import InferAnswer, TimingsMs, top_predictions
from server.clips.lease import Lease
from server.http.context import FIRST_BYTE_S, LOG_FIELDS, SERVICE
from server.http.deadline import asked_deadline_ms, asked_priority
from server.http.request_body import RequestBody
from server.serving.classify import Classification, Terms, classify


async def infer(request: web.Request) -> web.Response:
    """Classify the clip in the body within the deadline of the request."""
    service = request.app[SERVICE]
    terms = Terms(
        began_s=request[FIRST_BYTE_S],
        deadline_ms=asked_deadline_ms(request.headers, service.settings.deadline_ms),
        priority=asked_priority(request.headers),
    )
    settings = service.settings
    with Lease() as lease:
        memory = lease.take(service.admission.request_memory())
        threads = service.decode_threads
        body = RequestBody(request, settings.max_body_bytes, settings.body_timeout_s, memory, lease, threads)
        return _response(request, await classify(service, body, terms))


def _response(request: web.Request, classification: Classification) -> web.Response:
    asked, manifest = classification.request, classification.manifest
    predictions = top_predictions(classification.probabilities, manifest.labels, asked.top_k)
    timings = TimingsMs.of(classification.times)
    answer = InferAnswer(predictions, asked.clip_id, manifest.source.model, timings)
    request[LOG_FIELDS] |= {
        "clip_id": asked.clip_id,
        "top": predictions[0].label,
        "timings_ms": dict(classification.times.phases()),
    }
    response = web.Response(body=msgspec.json.encode(answer), content_type="application/json")
    phases = msgspec.structs.asdict(timings)
    response.headers["Server-Timing"] = ", ".join(f"{phase};dur={ms}" for phase, ms in phases.items())
    return response
