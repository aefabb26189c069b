"""The one place where an error becomes an HTTP status: RFC 9457 problem details."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from server import errors
from server.telemetry.logs import request_id

MEDIA_TYPE = "application/problem+json"
# Where the Open Inference Protocol is.
PROTOCOL_PATH = "/v2"
OUR_FAULT = "the service failed on this request; its log has the cause under this request_id"

# The most specific class of an error decides.
STATUS_BY_ERROR: dict[type[Exception], HTTPStatus] = {
    errors.UnreadableError: HTTPStatus.BAD_REQUEST,
    errors.VersionError: HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
    errors.UnauthorizedError: HTTPStatus.UNAUTHORIZED,
    errors.ForbiddenError: HTTPStatus.FORBIDDEN,
    errors.NotFoundError: HTTPStatus.NOT_FOUND,
    errors.SlowBodyError: HTTPStatus.REQUEST_TIMEOUT,
    errors.TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedMediaError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.InvalidError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.OverloadedError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.NotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DeadlineError: HTTPStatus.GATEWAY_TIMEOUT,
}

# Headers of the answer to an error and to its subclasses.
HEADERS_BY_ERROR: dict[type[Exception], tuple[str, Callable[[Any], str]]] = {
    errors.RetryLaterError: ("Retry-After", lambda error: str(error.retry_after_s)),
    errors.UnauthorizedError: ("WWW-Authenticate", lambda error: "Bearer"),
}


class Problem(msgspec.Struct, omit_defaults=True):
    """The body of every error answer; ``field`` is the field at fault, ``request_id`` is in the log.

    ``error``: the same as ``detail``, for clients of the Open Inference Protocol, which know no other member.
    """

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None = None
    field: str | None = None
    error: str | None = None


def problem_for(error: Exception, path: str = "") -> web.Response:
    """The answer for any exception of a handler; an exception that is no RequestError is our fault: 500.

    Under ``/v2`` it has the member that the Open Inference Protocol asks for.
    """
    named = path == PROTOCOL_PATH or path.startswith(f"{PROTOCOL_PATH}/")
    if isinstance(error, web.HTTPException):
        return _http_problem(error, named=named)
    problem = problem_of(error)
    if named:
        problem.error = problem.detail
    answer = web.Response(status=problem.status, body=msgspec.json.encode(problem), content_type=MEDIA_TYPE)
    for name, text_of in headers_of(type(error)).items():
        answer.headers[name] = text_of(error)
    return answer


def problem_of(error: Exception) -> Problem:
    """The problem that the client is told."""
    status = status_of(type(error))
    if status is HTTPStatus.INTERNAL_SERVER_ERROR or not isinstance(error, errors.RequestError):
        return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, OUR_FAULT)
    return _problem(status, error.message, error.field)


def status_of(kind: type[Exception]) -> HTTPStatus:
    """The status for errors of ``kind``; 500 for errors that are not in the mapping."""
    known = (STATUS_BY_ERROR[base] for base in kind.__mro__ if base in STATUS_BY_ERROR)
    return next(known, HTTPStatus.INTERNAL_SERVER_ERROR)


def headers_of(kind: type[Exception]) -> dict[str, Callable[[Any], str]]:
    """The headers of the answer to ``kind``, each with the function that makes its text from the error."""
    return dict(HEADERS_BY_ERROR[base] for base in kind.__mro__ if base in HEADERS_BY_ERROR)


def raw_problem(status: HTTPStatus, detail: str) -> bytes:
    """A whole HTTP/1.1 answer, for a connection that is closed before there is a request to answer."""
    body = msgspec.json.encode(_problem(status, detail))
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Retry-After: 1\r\nConnection: close\r\n\r\n".encode() + body


def _http_problem(error: web.HTTPException, *, named: bool) -> web.Response:
    answer = problem_answer(HTTPStatus(error.status), _http_detail(error), named=named)
    if allow := error.headers.get("Allow"):
        answer.headers["Allow"] = allow
    return answer


def _http_detail(error: web.HTTPException) -> str:
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"{error.method} is not accepted here; accepted: {', '.join(sorted(error.allowed_methods))}"
    if isinstance(error, web.HTTPNotFound):
        return "no such path; GET / lists the endpoints"
    return error.text or error.reason


def problem_answer(status: HTTPStatus, detail: str, field: str | None = None, *, named: bool = False) -> web.Response:
    """The answer of ``status`` whose problem says ``detail``; ``named``: also as ``error``."""
    problem = _problem(status, detail, field)
    problem.error = detail if named else None
    return web.Response(status=status, body=msgspec.json.encode(problem), content_type=MEDIA_TYPE)


def _problem(status: HTTPStatus, detail: str, field: str | None = None) -> Problem:
    return Problem(
        type=f"urn:vjepa2-serve:problem:{status.name.lower().replace('_', '-')}",
        title=status.phrase,
        status=status,
        detail=detail,
        request_id=request_id.get(),
        field=field,
    )
