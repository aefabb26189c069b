"""What is done for every request: an id, a problem for an error, one log line, one count."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import cast
from uuid import uuid4

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from server.http.context import FIRST_BYTE_S, LOG_FIELDS, SERVICE
from server.http.endpoint import policy_of
from server.http.framing import check_framing
from server.http.problem import problem_for
from server.http.transport.connection import SERVER_NAME, Connection
from server.serving.service import Service, State
from server.telemetry.logs import request_id
from server.telemetry.metrics import outcome_of
from server.telemetry.model_metrics import GONE

_log = logging.getLogger("server.access")
_USABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@web.middleware
async def account(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give each answer an ``X-Request-Id``, the client's own where it is usable, and log each request once."""
    connection = cast(Connection, request.protocol)
    request[FIRST_BYTE_S] = connection.request_began(request)
    request[LOG_FIELDS] = {}
    asked_id = request.headers.get("X-Request-Id", "")
    request_id.set(asked_id if _USABLE_ID.fullmatch(asked_id) else str(uuid4()))
    try:
        answer = await _counted(request, handler)
    except asyncio.CancelledError:
        _log.info("client gone", extra=_fields(request))
        raise
    finally:
        connection.request_ended(request)
    answer.headers["X-Request-Id"] = request_id.get() or ""
    if not request.content.is_eof():
        connection.ignore_rest()
        answer.force_close()
    if request.app[SERVICE].state is State.DRAINING:
        answer.force_close()
    _log.log(policy_of(request).log_level, "request", extra={"status": answer.status} | _fields(request))
    return answer


async def name_stream(request: web.Request, response: web.StreamResponse) -> None:
    """Give an answer that is sent piece by piece the headers that others get when their handler has ended."""
    response.headers["X-Request-Id"] = request_id.get() or ""
    response.headers[hdrs.SERVER] = SERVER_NAME


async def _counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count the request when it comes and once more by how it ends, where the policy of its endpoint says so."""
    if not policy_of(request).counted:
        return await _answered(request, handler)
    service = request.app[SERVICE]
    service.metrics.received()
    outcome = GONE
    try:
        answer = await _answered(request, handler)
        outcome = outcome_of(answer.status)
        return answer
    finally:
        service.metrics.ended(outcome, _model(request, service))


def _model(request: web.Request, service: Service) -> str:
    """The name of the model that the request was for, empty if it was refused before that was known."""
    known = request[LOG_FIELDS].get("model")
    return known or ("" if service.models.are_several else service.models.default.name)


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        check_framing(request)
        return await handler(request)
    except Exception as error:
        answer = problem_for(error, request.path)
        if answer.status == 500:
            _log.exception("request failed")
        request[LOG_FIELDS]["error"] = str(error)
        return answer


def _fields(request: web.Request) -> dict[str, object]:
    elapsed_ms = round((asyncio.get_running_loop().time() - request[FIRST_BYTE_S]) * 1e3, 3)
    fields = {"method": request.method, "path": request.path, "elapsed_ms": elapsed_ms, "client": request.remote}
    return fields | request[LOG_FIELDS]
