"""The endpoints of teaching."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Literal

from aiohttp.typedefs import Handler

from engines.linear_heads.manifest import ConfidenceBin, Report, ThresholdPoint
from server.api.teaching import endpoints
from server.api.teaching.messages import Action, HeadInTeaching, KeptExample, TaughtHead, Teaching
from server.errors import (
    ForbiddenError,
    InvalidError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    RequestError,
    SlowBodyError,
    TooLargeError,
    UnreadableError,
    UnsupportedMediaError,
)
from server.http.endpoint import Endpoint, ResponseBody, Served
from server.http.request_body import no_expectations
from server.teaching.examples import SUFFIXES

_HEAD = "/api/v1/teaching/{head}"
_EXAMPLES = f"{_HEAD}/actions/{{action}}/examples"
_REPORT = Report(
    classes=(),
    confusion=((8, 0, 0), (1, 7, 0)),
    accuracy=0.94,
    calibration_error_before=0.12,
    calibration_error=0.03,
    misses=0.0,
    thresholds=(ThresholdPoint(threshold=-1.5, misses=0.0), ThresholdPoint(threshold=-0.5, misses=0.06)),
    calibration=(ConfidenceBin(confidence=0.93, accuracy=0.94, clips=16),),
)
_DRAFT = TaughtHead("door:new", ["opens", "closes", "unknown"], "2026-11-27T16:00:00+00:00", -1.5, _REPORT)
_KEPT = KeptExample("5f70bf18a0860070.webm", 183_201)
_TEACHING = Teaching(
    missing=None,
    teaching=[
        HeadInTeaching(
            name="door", actions=[Action("opens", [_KEPT])], is_taught=False, progress=None, error=None, draft=_DRAFT
        )
    ],
    heads=[],
)
_CHANGED = ResponseBody("What is taught now.", _TEACHING)


def _parameters(*names: str) -> Callable[[Served], dict[str, Any]]:
    def told(_: Served) -> dict[str, Any]:
        return {"parameters": [_in_path(name) for name in names]}

    return told


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _example(served: Served) -> dict[str, Any]:
    session = {
        "name": "session",
        "in": "query",
        "description": "An open stream: what it has just shown is the example, and the body is not read.",
        "schema": {"type": "string"},
    }
    content = {media: {"schema": {"type": "string", "format": "binary"}} for media in SUFFIXES}
    parameters = [*_parameters("head", "action")(served)["parameters"], session]
    return {"parameters": parameters, "requestBody": {"content": content}}


def _changing(
    method: Literal["POST", "DELETE"], path: str, handler: Handler, summary: str, *errors: type[RequestError]
) -> Endpoint:
    """An endpoint that changes what is taught."""
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return Endpoint(
        method,
        path,
        handler,
        name=f"teaching_{handler.__name__}",
        tag="teaching",
        summary=summary,
        answers={HTTPStatus.OK: _CHANGED},
        errors=(ForbiddenError, *errors),
        request=_parameters(*names),
    )


ALL = (
    Endpoint(
        "GET",
        "/api/v1/teaching",
        endpoints.overview,
        name="teaching",
        tag="teaching",
        summary="List what is taught, and the heads in service with their reports",
        answers={HTTPStatus.OK: _CHANGED},
        errors=(ForbiddenError,),
    ),
    Endpoint(
        "POST",
        _EXAMPLES,
        endpoints.add_example,
        name="teaching_example",
        tag="teaching",
        summary="Keep an example of an action",
        description="Keeps the video in the body, or with `session` what a stream has just shown.",
        answers={HTTPStatus.OK: ResponseBody("The example.", _KEPT)},
        errors=(
            ForbiddenError,
            InvalidError,
            NotFoundError,
            OverloadedError,
            SlowBodyError,
            TooLargeError,
            UnreadableError,
            UnsupportedMediaError,
        ),
        request=_example,
        route={"expect_handler": no_expectations},
    ),
    _changing(
        "DELETE",
        f"{_EXAMPLES}/{{example}}",
        endpoints.remove_example,
        "Remove an example",
        InvalidError,
        NotFoundError,
    ),
    _changing(
        "POST", f"{_HEAD}/teach", endpoints.teach, "Begin to teach", InvalidError, NotReadyError, OverloadedError
    ),
    _changing(
        "POST",
        f"{_HEAD}/keep",
        endpoints.keep,
        "Serve what was taught, in the place of the head of that name",
        InvalidError,
        NotFoundError,
        OverloadedError,
    ),
    _changing("POST", f"{_HEAD}/discard", endpoints.discard, "Throw away what was taught", InvalidError, NotFoundError),
)
