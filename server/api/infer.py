"""``POST /api/v1/infer`` and ``POST /api/v1/embed``: classify a clip that is sent over HTTP, or return its features."""

from __future__ import annotations

import functools

import msgspec
from aiohttp import hdrs, web

from server.api.answers import EmbedAnswer, InferAnswer, Prediction, TimingsMs, encoded_features, top_predictions
from server.clips.infer_request import OCTET_STREAM
from server.clips.lease import Lease
from server.http.context import FIRST_BYTE_S, LOG_FIELDS, SERVICE
from server.http.deadline import asked_deadline_ms, asked_priority
from server.http.endpoint import JSON_TYPE
from server.http.request_body import RequestBody
from server.serving.classify import Classification, Terms, classify
from server.serving.models.served_model import ServedModel


async def infer(request: web.Request) -> web.Response:
    """Classify the clip in the body within the deadline of the request."""
    return _classified(request, await _computed(request, embeds=False))


async def embed(request: web.Request) -> web.Response:
    """Return the features of the clip in the body, as JSON or, where the client accepts it, as bytes."""
    return _embedded(request, await _computed(request, embeds=True))


async def _computed(request: web.Request, *, embeds: bool) -> Classification:
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
        return await classify(service, body, terms, functools.partial(_log_model, request), embeds=embeds)


def _log_model(request: web.Request, model: ServedModel) -> None:
    request[LOG_FIELDS]["model"] = model.name


def _classified(request: web.Request, found: Classification) -> web.Response:
    asked, manifest = found.request, found.manifest
    named = found.heads.get(asked.head or "")
    labels, probabilities = (named.labels, named.probabilities) if named else (manifest.labels, found.probabilities)
    answer = InferAnswer(
        top_predictions(probabilities, labels, asked.top_k),
        asked.clip_id,
        manifest.source.model,
        TimingsMs.of(found.times),
        head=asked.head if named else None,
        heads=None if named or not asked.head else _of_all(found),
    )
    return _response(request, found, answer.timings_ms, msgspec.json.encode(answer))


def _of_all(found: Classification) -> dict[str, list[Prediction]]:
    top_k = found.request.top_k
    return {name: top_predictions(one.probabilities, one.labels, top_k) for name, one in found.heads.items()}


def _embedded(request: web.Request, found: Classification) -> web.Response:
    asked, manifest, timings = found.request, found.manifest, TimingsMs.of(found.times)
    if found.features is None or found.features_identity is None:
        raise AssertionError("a bundle with features gave none")
    identity = found.features_identity
    if request.headers.get(hdrs.ACCEPT, "").partition(";")[0].strip().lower() == OCTET_STREAM:
        data = found.features.astype("<f4").tobytes()
        response = _response(request, found, timings, data, OCTET_STREAM)
        response.headers["X-Features-Sha256"] = identity
        return response
    embedding, dim = encoded_features(found.features, asked.encoding_format), len(found.features)
    answer = EmbedAnswer(embedding, dim, asked.clip_id, manifest.source.model, identity, timings)
    return _response(request, found, timings, msgspec.json.encode(answer))


def _response(
    request: web.Request, found: Classification, timings: TimingsMs, body: bytes, content_type: str = JSON_TYPE
) -> web.Response:
    request[LOG_FIELDS] |= {
        "clip_id": found.request.clip_id,
        "top": found.top_label,
        "timings_ms": dict(found.times.phases()),
    }
    response = web.Response(body=body, content_type=content_type)
    phases = msgspec.structs.asdict(timings)
    response.headers["Server-Timing"] = ", ".join(f"{phase};dur={ms}" for phase, ms in phases.items())
    return response
