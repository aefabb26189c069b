"""All endpoints: their paths, handlers, answers and errors."""

from __future__ import annotations

import logging
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from server.api import status, stream
from server.api.docs import examples, video_schema
from server.api.docs.inference_schema import EMBEDDINGS, ENCODINGS, embedding, inference
from server.api.docs.watching_schema import watching
from server.api.document_routes import ASSETS, DOCUMENTS
from server.api.infer import embed, infer
from server.api.live import page
from server.api.stream_messages import STREAM_PATH
from server.api.v2 import routes as v2
from server.api.video import NDJSON, video
from server.api.watching.events import EVENT_STREAM, events
from server.api.watching.figures import figures
from server.errors import (
    DeadlineError,
    ForbiddenError,
    InvalidError,
    NotReadyError,
    OverloadedError,
    SlowBodyError,
    TooLargeError,
    UnreadableError,
    UnsupportedMediaError,
)
from server.http.endpoint import Endpoint, Policy, ResponseBody
from server.http.request_body import no_expectations

_OK, _UNAVAILABLE = HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE
_CLIP_ERRORS = (
    UnreadableError,
    SlowBodyError,
    TooLargeError,
    UnsupportedMediaError,
    InvalidError,
    OverloadedError,
    NotReadyError,
    DeadlineError,
)
_PROBE = Policy(needs_key=False, log_level=logging.DEBUG)
_EVENTS = """\
Sends `streams` with all open streams at first, then what happens: `opened`, `prediction`, `skipped`, `gap`, \
`refused`, `model`, `picture` (a small JPEG a second, unless the service runs with `--no-previews`) and `closed`. The \
`data` of each is JSON. A client that is too slow gets `streams` again instead of what it missed. docs/page.md \
describes the members.
"""

INFERENCE = (
    Endpoint(
        "POST",
        "/api/v1/infer",
        infer,
        name="classify",
        tag="inference",
        summary="Classify a clip",
        description=ENCODINGS,
        request=inference,
        answers={_OK: ResponseBody("The most probable actions.", examples.INFER_ANSWER, headers=("Server-Timing",))},
        errors=_CLIP_ERRORS,
        route={"expect_handler": no_expectations},
        policy=Policy(counted=True, traced=True),
    ),
    Endpoint(
        "POST",
        "/api/v1/embed",
        embed,
        name="embed",
        tag="inference",
        summary="Compute the features of a clip",
        description=EMBEDDINGS,
        request=embedding,
        answers={_OK: ResponseBody("The features.", examples.EMBED_ANSWER, headers=("Server-Timing",), raw=True)},
        errors=_CLIP_ERRORS,
        route={"expect_handler": no_expectations},
        policy=Policy(counted=True, traced=True),
    ),
    Endpoint(
        "POST",
        "/api/v1/video",
        video,
        name="video",
        tag="inference",
        summary="Label a video file",
        description=video_schema.DESCRIPTION,
        request=video_schema.recording,
        answers={_OK: ResponseBody("The windows, then the segments.", examples.VIDEO, media_type=NDJSON)},
        errors=(*_CLIP_ERRORS, ForbiddenError),
        route={"expect_handler": no_expectations},
        policy=Policy(counted=True, traced=True),
    ),
    Endpoint(
        "GET",
        "/api/v1/models",
        status.models,
        name="models",
        tag="inference",
        summary="Describe the models",
        description="Returns the name, frame count, sizes, labels, precision, device and versions of each model in"
        " service.",
        answers={_OK: ResponseBody("The models in service, the default first if it is.", examples.MODELS)},
        errors=(NotReadyError,),
    ),
)

STREAMS = (
    # OpenAPI cannot describe a WebSocket; the AsyncAPI document does.
    Endpoint(
        "GET",
        STREAM_PATH,
        stream.stream,
        name="stream",
        tag="inference",
        summary="Send the frames of a camera once and get an answer for every window",
        answers={HTTPStatus.SWITCHING_PROTOCOLS: ResponseBody("The WebSocket of the stream.", "")},
        policy=Policy(needs_key=False, documented=False),
    ),
    Endpoint(
        "GET",
        "/api/v1/streams",
        stream.streams,
        name="streams",
        tag="inference",
        summary="List the open streams",
        description="Returns what each open stream has sent and seen, the oldest first.",
        answers={_OK: ResponseBody("The open streams.", examples.OPEN_STREAMS)},
    ),
    Endpoint(
        "GET",
        "/api/v1/events",
        events,
        name="events",
        tag="inference",
        summary="Watch the open streams as server-sent events",
        description=_EVENTS,
        answers={_OK: ResponseBody("The events, without an end.", examples.EVENTS, media_type=EVENT_STREAM)},
        errors=(ForbiddenError, InvalidError, NotReadyError),
        request=watching,
    ),
)

HEALTH = (
    Endpoint(
        "GET",
        "/health",
        status.health,
        name="health",
        tag="health",
        summary="State of the service and its model",
        answers={
            _OK: ResponseBody("The service accepts requests.", examples.HEALTHY),
            _UNAVAILABLE: ResponseBody("The service is `loading`, `draining` or `unhealthy`.", examples.LOADING),
        },
        policy=_PROBE,
    ),
    Endpoint(
        "GET",
        "/health/live",
        status.live,
        name="live",
        tag="health",
        summary="Liveness probe",
        answers={_OK: ResponseBody("The event loop runs.", examples.ALIVE)},
        policy=_PROBE,
    ),
    Endpoint(
        "GET",
        "/health/ready",
        status.ready,
        name="ready",
        tag="health",
        summary="Readiness probe",
        answers={_OK: ResponseBody("The service accepts requests.", examples.READY)},
        errors=(NotReadyError,),
        policy=_PROBE,
    ),
)

SERVICE = (
    Endpoint(
        "GET",
        "/",
        page.root,
        name="index",
        tag="service",
        summary="Describe the service",
        description="Describes the service. Those who ask for HTML, as browsers do, get the page of `/live` instead.",
        answers={_OK: ResponseBody("Name, version, model, endpoints and encodings of the service.", examples.INDEX)},
        policy=Policy(has_page=True),
    ),
    Endpoint(
        "GET",
        "/api/v1/service",
        figures,
        name="figures",
        tag="service",
        summary="Figures of the last hour",
        description="Returns throughput, phases of a clip, batches, queue and memory for every ten seconds of the last"
        " hour, and the limits to which they are to be compared.",
        answers={_OK: ResponseBody("The figures and their limits.", examples.FIGURES)},
        policy=Policy(log_level=logging.DEBUG),
    ),
    Endpoint(
        "GET",
        "/metrics",
        status.metrics,
        name="metrics",
        tag="service",
        summary="Metrics for Prometheus",
        answers={
            _OK: ResponseBody(
                "The metrics in the text format of Prometheus.", examples.METRICS, media_type=CONTENT_TYPE_PLAIN_0_0_4
            )
        },
        policy=Policy(log_level=logging.DEBUG),
    ),
)

ALL = (*INFERENCE, *STREAMS, *v2.ALL, *HEALTH, *SERVICE, *DOCUMENTS, *ASSETS)
