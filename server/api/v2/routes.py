"""The endpoints of the Open Inference Protocol.

The OpenAPI document has neither those with a version, which do the same as those without, nor Triton's extensions.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from http import HTTPStatus
from typing import Literal

from aiohttp.typedefs import Handler

from server.api.v2 import model, openapi, repository, server_status, shared_memory
from server.api.v2.infer import infer
from server.errors import (
    DeadlineError,
    InvalidError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    SlowBodyError,
    TooLargeError,
    UnreadableError,
    UnsupportedMediaError,
)
from server.http.endpoint import Endpoint, Policy, ResponseBody
from server.http.request_body import no_expectations

_OK = HTTPStatus.OK
_PROBE = Policy(needs_key=False, log_level=logging.DEBUG)
_TAG = "open inference protocol"
_MODEL = "/v2/models/{model}"

_SERVER = (
    Endpoint(
        "GET",
        "/v2",
        server_status.metadata,
        name="v2_server",
        tag=_TAG,
        summary="Describe the service",
        answers={_OK: ResponseBody("Name, version and extensions.", openapi.SERVER)},
    ),
    Endpoint(
        "GET",
        "/v2/health/live",
        server_status.live,
        name="v2_live",
        tag=_TAG,
        summary="Liveness probe",
        answers={_OK: ResponseBody("The event loop runs.", openapi.LIVE)},
        policy=_PROBE,
    ),
    Endpoint(
        "GET",
        "/v2/health/ready",
        server_status.ready,
        name="v2_ready",
        tag=_TAG,
        summary="Readiness probe",
        answers={_OK: ResponseBody("The service accepts requests.", openapi.READY)},
        errors=(NotReadyError,),
        policy=_PROBE,
    ),
)


def _of_model(path: str, handler: Handler, name: str, summary: str, answer: ResponseBody) -> Endpoint:
    """An endpoint that describes the model."""
    return Endpoint(
        "GET",
        f"{_MODEL}{path}",
        handler,
        name=name,
        tag=_TAG,
        summary=summary,
        answers={_OK: answer},
        errors=(NotFoundError, NotReadyError),
        request=openapi.model_path,
    )


_READY = ResponseBody("The model accepts requests.", openapi.MODEL_READY)
_CONFIG = ResponseBody("The configuration in the terms of Triton.", openapi.CONFIG)
_STATISTICS = ResponseBody("Counts and times since the start.", openapi.STATISTICS)
_MODELS = (
    _of_model(
        "", model.metadata, "v2_model", "Describe the model", ResponseBody("Its inputs and outputs.", openapi.METADATA)
    ),
    dataclasses.replace(
        _of_model("/ready", model.ready, "v2_model_ready", "Readiness probe of the model", _READY), policy=_PROBE
    ),
    _of_model("/config", model.config, "v2_model_config", "Configuration of the model", _CONFIG),
    _of_model("/stats", model.statistics, "v2_model_statistics", "Statistics of the model", _STATISTICS),
    Endpoint(
        "POST",
        f"{_MODEL}/infer",
        infer,
        name="v2_infer",
        tag=_TAG,
        summary="Classify the clips of a tensor",
        description="Tensors may be JSON, follow the JSON as binary data, or be in shared memory (docs/triton.md).",
        request=openapi.inference,
        answers={_OK: ResponseBody("The outputs.", openapi.RESPONSE, headers=("Server-Timing",))},
        errors=(
            UnreadableError,
            NotFoundError,
            SlowBodyError,
            TooLargeError,
            UnsupportedMediaError,
            InvalidError,
            OverloadedError,
            NotReadyError,
            DeadlineError,
        ),
        route={"expect_handler": no_expectations},
        policy=Policy(counted=True, traced=True),
    ),
)


def _with_version(endpoint: Endpoint) -> Endpoint:
    return dataclasses.replace(
        endpoint,
        path=endpoint.path.replace(_MODEL, f"{_MODEL}/versions/{{version}}"),
        name=f"{endpoint.name}_version",
        policy=dataclasses.replace(endpoint.policy, documented=False),
    )


def _plain(method: Literal["GET", "POST"], path: str, handler: Handler) -> Endpoint:
    """An endpoint of Triton's extensions, which docs/triton.md describes."""
    name = "v2_" + re.sub(r"\W+", "_", path.removeprefix("/v2/"))
    return Endpoint(
        method,
        path,
        handler,
        name=name,
        tag=_TAG,
        summary="An extension",
        answers={_OK: ResponseBody("An extension.", "")},
        policy=Policy(documented=False),
    )


_REGIONS = "/v2/systemsharedmemory"
_REPOSITORY = "/v2/repository"
_EXTENSIONS = (
    _plain("GET", "/v2/models/stats", model.statistics),
    _plain("POST", f"{_REPOSITORY}/index", repository.index),
    _plain("POST", f"{_REPOSITORY}/models/{{model}}/load", repository.load),
    _plain("POST", f"{_REPOSITORY}/models/{{model}}/unload", repository.unload),
    _plain("GET", f"{_REGIONS}/status", shared_memory.status),
    _plain("GET", f"{_REGIONS}/region/{{region}}/status", shared_memory.status),
    _plain("POST", f"{_REGIONS}/region/{{region}}/register", shared_memory.register),
    _plain("POST", f"{_REGIONS}/unregister", shared_memory.unregister),
    _plain("POST", f"{_REGIONS}/region/{{region}}/unregister", shared_memory.unregister),
    _plain("GET", "/v2/cudasharedmemory/status", shared_memory.cuda_status),
    _plain("POST", "/v2/cudasharedmemory/unregister", shared_memory.cuda_unregister),
)

# A path of its own goes before the same path of a model.
ALL = (*_SERVER, *_EXTENSIONS, *_MODELS, *(_with_version(endpoint) for endpoint in _MODELS))
