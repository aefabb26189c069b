"""Example answers for the OpenAPI document, one for each type and each error."""

from __future__ import annotations

from dataclasses import dataclass

from server import errors
from server.api.answers import (
    Alive,
    Document,
    EmbedAnswer,
    Health,
    InferAnswer,
    Prediction,
    Ready,
    StreamDocument,
    TimingsMs,
)
from server.api.model_answers import FeaturesSummary, HeadSummary, Index, Model, Models, ModelSummary, Verified
from server.api.stream_messages import OpenStreams, StreamSummary
from server.api.watching.figures import Figures, Limits
from server.clips.infer_request import JSON, MULTIPART, OCTET_STREAM

READY = Ready("ready")
ALIVE = Alive("alive")
HEALTHY = Health("healthy", model_loaded=True)
LOADING = Health("loading", model_loaded=False)

_LABELS = ["Moving something up", "Moving something down", "Pushing something from left to right"]

INFER_ANSWER = InferAnswer(
    predictions=[Prediction(label, confidence) for label, confidence in zip(_LABELS, (0.91, 0.05, 0.02), strict=True)],
    clip_id="gate 7, 12:00:05",
    model="facebook/vjepa2-vitl-fpc16-256-ssv2",
    timings_ms=TimingsMs(decode=1.854, queue=0.03, infer=11.031, total=13.981),
)

EMBED_ANSWER = EmbedAnswer(
    embedding=[0.2817, -1.0342],
    dim=2,
    clip_id=INFER_ANSWER.clip_id,
    model=INFER_ANSWER.model,
    sha256="5b1f7a2d09c8e6437f20c1d8a9b3e5f4061728394a5b6c7d8e9f00112233445a",
    timings_ms=INFER_ANSWER.timings_ms,
)

MODELS = Models(
    [
        Model(
            name="facebook/vjepa2-vitl-fpc16-256-ssv2",
            served_as="vjepa2-vitl-fpc16-256-ssv2-tensorrt-fp16",
            revision="4b8a6f1e0c",
            sha256="5aa24258fcab96a4dc118686f1c033c1ff8e54277b00367c620cc4addcfbd799",
            random_weights=False,
            bundle="vjepa2-vitl-fpc16-256-ssv2-tensorrt-fp16",
            bundle_sha256="5f2d6a1c0b9e4d7f8a3b6c5d4e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f",
            frames=16,
            resize=292,
            crop=256,
            labels=_LABELS,
            max_batch=8,
            target="tensorrt",
            precision="fp16",
            device="NVIDIA L4",
            features=FeaturesSummary(
                dim=17408,
                sha256=EMBED_ANSWER.sha256,
                parts={"tubelet_means": 8192, "tubelet_maxima": 8192, "pooled": 1024},
            ),
            heads=[
                HeadSummary(
                    name="door",
                    labels=["opens", "closes", "unknown"],
                    sha256="c7be1ed902fb8dd4d48997c6452f5d7e509fbcdbe2808b16bcf4edce4c07d14e",
                    fps=3.0,
                    taught_at="2026-11-27T16:02:11+00:00",
                    accuracy=0.95,
                    calibration_error=0.03,
                    misses=0.04,
                    false_alarms=0.01,
                )
            ],
            built_at="2026-11-23T17:35:08+00:00",
            versions={"vjepa2-serve": "0.1.0", "tensorrt": "10.13.3"},
            verification=Verified(
                device="NVIDIA L4",
                precision="fp16",
                clips=96,
                max_abs_probability_error=0.0021,
                tolerance=0.02,
                top1_agreement=1.0,
                top5_agreement=0.998,
                features_error=0.0016,
            ),
        )
    ]
)

INDEX = Index(
    service="vjepa2-serve",
    version="0.1.0",
    model=ModelSummary(
        name=MODELS.models[0].name,
        frames=16,
        crop=256,
        labels=174,
        max_batch=8,
        target="tensorrt",
        precision="fp16",
        device="NVIDIA L4",
        random_weights=False,
    ),
    endpoints=["GET /health", "POST /api/v1/infer"],
    encodings=[JSON, OCTET_STREAM, MULTIPART],
)

METRICS = """# HELP vjepa_queue_clips Clips that wait for the engine
# TYPE vjepa_queue_clips gauge
vjepa_queue_clips 0.0
"""

DOCUMENT = Document("3.1.0", {"title": "vjepa2-serve", "version": "0.1.0"}, {"/health": {}}, {})
STREAM_DOCUMENT = StreamDocument(
    "3.0.0", {"title": "vjepa2-serve streams", "version": "0.1.0"}, {"stream": {}}, {"answer": {}}, {}
)
OPEN_STREAMS = OpenStreams(
    [
        StreamSummary(
            session="3f2a9c01b7de",
            name="door",
            since_s=1764244800.0,
            fps=3.0,
            fps_in=15.0,
            frames=900,
            windows=221,
            predictions=219,
            skipped={"overload": 2},
            gaps=1,
            still=None,
            prediction=Prediction("Opening something", 0.91),
            age_ms=14.2,
            total_ms=11.8,
        )
    ]
)
PAGE = "<!doctype html>"
EVENTS = """event: skipped
id: 5b1f20aa-812
data: {"session":"3f2a9c01b7de","at_s":1764244912.5,"window":221,"reason":"overload","skipped":{"overload":3}}

"""
VIDEO = """{"type":"window","start_s":0.0,"end_s":5.0,"predictions":[{"label":"Moving something up","confidence":0.97}]}
{"type":"segment","start_s":0.0,"end_s":5.0,"label":"Moving something up","confidence":0.97}
{"type":"ended","model":"demo","head":null,"windows":1,"segments":1}
"""
FIGURES = Figures(
    status="healthy",
    version="0.1.0",
    now_s=1764244912.5,
    engines=1,
    limits=Limits(
        queue_size=64,
        max_inflight_bytes=536870912,
        max_streams=256,
        max_connections=1024,
        deadline_ms=30000,
        decode_threads=8,
        previews=True,
    ),
    columns=["time_s", "clips_per_s", "batch_clips"],
    current=[1764244912.5, 29.9, 3.7],
    rows=[[1764244900.0, 30.0, 3.8], [1764244910.0, 0.0, None]],
)

_AGAIN_S = 1


@dataclass(frozen=True)
class ErrorExample:
    """The meaning of an error for clients, and an instance of it."""

    meaning: str
    error: errors.RequestError


ERRORS: dict[type[errors.RequestError], ErrorExample] = {
    type(error): ErrorExample(meaning, error)
    for meaning, error in (
        (
            "The body, its base64 or an image in it cannot be read.",
            errors.UnreadableError("the body is not JSON: Input data was truncated"),
        ),
        (
            "The request is of another version of HTTP.",
            errors.VersionError("the version is HTTP/2.0; accepted: HTTP/1.1, HTTP/1.0"),
        ),
        (
            "The API key is missing or unknown.",
            errors.UnauthorizedError("a key is needed: Authorization: Bearer KEY", field="Authorization"),
        ),
        (
            "A page of this origin may not use the endpoint.",
            errors.ForbiddenError("pages of this origin may not use this endpoint (--cors-origins)", field="Origin"),
        ),
        (
            "No model, version or region has this name.",
            errors.NotFoundError("no model 'vitl' is in service; accepted: demo", field="model"),
        ),
        (
            "The body did not arrive in time.",
            errors.SlowBodyError("the body was not there after 30 s"),
        ),
        (
            "The body or the clip is larger than accepted.",
            errors.TooLargeError("the body has 100000000 bytes; accepted: at most 67108864"),
        ),
        (
            "The content type is not supported.",
            errors.UnsupportedMediaError(
                f"Content-Type is text/plain; accepted: {JSON}, {OCTET_STREAM}, {MULTIPART}", field="Content-Type"
            ),
        ),
        (
            "The request is readable but wrong, such as the number of frames, a size, a format or a header.",
            errors.InvalidError("frames holds 15 frames; this model takes exactly 16", field="frames"),
        ),
        (
            "The client sent more requests than its rate limit allows.",
            errors.RateLimitedError("more than 20 per 1 second with one key", retry_after_s=_AGAIN_S),
        ),
        (
            "The service holds as many clips or bytes as it accepts.",
            errors.OverloadedError("64 clips are in the service already", retry_after_s=_AGAIN_S),
        ),
        (
            "The service has no model yet, is being stopped or has lost its engine.",
            errors.NotReadyError("the service is loading", retry_after_s=_AGAIN_S),
        ),
        (
            "The deadline of the request passed.",
            errors.DeadlineError("not answered within the 500 ms that the request had"),
        ),
    )
}
