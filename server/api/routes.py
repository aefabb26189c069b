"""Every endpoint: where it is, what it answers and with which statuses."""

from __future__ import annotations

from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from engines.errors import (
    DeadlineError,
    InvalidError,
    NotReadyError,
    OverloadedError,
    SlowBodyError,
    TooLargeError,
    UnreadableError,
    UnsupportedMediaError,
)
from server.api import status
from server.api.docs import examples, pages
from server.api.docs.inference_schema import ENCODINGS, inference
from server.api.infer import infer
from server.http.endpoint import Body, Endpoint
from server.http.middleware import INFER_PATH
from server.http.request_body import no_expectations

_OK, _UNAVAILABLE = HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE
_PAGE_HEADERS = ("Content-Security-Policy",)

INFERENCE = (
    Endpoint(
        "POST",
        INFER_PATH,
        infer,
        name="classify",
        tag="inference",
        summary="Classify a clip",
        description=ENCODINGS,
        request=inference,
        answers={_OK: Body("What the model sees.", examples.INFER_ANSWER, headers=("Server-Timing",))},
        errors=(
            UnreadableError,
            SlowBodyError,
            TooLargeError,
            UnsupportedMediaError,
            InvalidError,
            OverloadedError,
            NotReadyError,
            DeadlineError,
        ),
        route={"expect_handler": no_expectations},
    ),
    Endpoint(
        "GET",
        "/api/v1/models",
        status.models,
        name="models",
        tag="inference",
        summary="What the model takes and knows",
        description="Frames, sizes, labels in the order of the outputs, precision, device, versions.",
        answers={_OK: Body("The model in service.", examples.MODELS)},
        errors=(NotReadyError,),
    ),
)

HEALTH = (
    Endpoint(
        "GET",
        "/health",
        status.health,
        name="health",
        tag="health",
        summary="Whether the service is up and has its model",
        answers={
            _OK: Body("It takes work.", examples.HEALTHY),
            _UNAVAILABLE: Body("It does not: `loading`, `draining` or `unhealthy`.", examples.LOADING),
        },
    ),
    Endpoint(
        "GET",
        "/health/live",
        status.live,
        name="live",
        tag="health",
        summary="Whether the process turns",
        answers={_OK: Body("It turns.", examples.ALIVE)},
    ),
    Endpoint(
        "GET",
        "/health/ready",
        status.ready,
        name="ready",
        tag="health",
        summary="Whether work is accepted",
        answers={_OK: Body("It is.", examples.READY)},
        errors=(NotReadyError,),
    ),
)

SERVICE = (
    Endpoint(
        "GET",
        "/",
        status.index,
        name="index",
        tag="service",
        summary="Service, version, model, endpoints",
        answers={_OK: Body("Who answers here.", examples.INDEX)},
    ),
    Endpoint(
        "GET",
        "/metrics",
        status.metrics,
        name="metrics",
        tag="service",
        summary="Figures for Prometheus",
        answers={_OK: Body("Prometheus' text format.", examples.METRICS, media_type=CONTENT_TYPE_PLAIN_0_0_4)},
    ),
)

DOCUMENTS = (
    Endpoint(
        "GET",
        "/openapi.json",
        pages.document,
        name="document",
        tag="documents",
        summary="This document",
        answers={_OK: Body("OpenAPI 3.1, for the model in service.", examples.DOCUMENT)},
        errors=(NotReadyError,),
    ),
    Endpoint(
        "GET",
        "/docs",
        pages.swagger_ui,
        name="swagger_ui",
        tag="documents",
        summary="Swagger UI: this document, with forms to try it out",
        answers={_OK: Body("A page.", examples.PAGE, media_type=pages.HTML_TYPE, headers=_PAGE_HEADERS)},
    ),
    Endpoint(
        "GET",
        "/redoc",
        pages.redoc,
        name="redoc",
        tag="documents",
        summary="ReDoc: this document, to read",
        answers={_OK: Body("A page.", examples.PAGE, media_type=pages.HTML_TYPE, headers=_PAGE_HEADERS)},
    ),
)

ALL = (*INFERENCE, *HEALTH, *SERVICE, *DOCUMENTS)
