"""Around every request: an id, errors turned into problems, one log line."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from uuid import uuid4

from aiohttp import web
from aiohttp.typedefs import Handler

from server.handlers import LOG_FIELDS
from server.logs import request_id
from server.problem import problem_for

_log = logging.getLogger("server.access")
_USABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@web.middleware
async def account(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every request leaves with an ``X-Request-Id`` (the client's own where it is usable) and is logged once."""
    started_s = time.perf_counter()
    asked_id = request.headers.get("X-Request-Id", "")
    request_id.set(asked_id if _USABLE_ID.fullmatch(asked_id) else str(uuid4()))
    try:
        answer = await _answered(request, handler)
    except asyncio.CancelledError:
        _log.info("client gone", extra=_fields(request, started_s))
        raise
    answer.headers["X-Request-Id"] = request_id.get() or ""
    level = logging.DEBUG if request.path.startswith("/health") else logging.INFO
    _log.log(level, "request", extra={"status": answer.status} | _fields(request, started_s))
    return answer


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:
        answer = problem_for(error)
        if answer.status >= 500 and answer.status != 503:
            _log.exception("request failed")
        request[LOG_FIELDS] = {"error": str(error)}
        return answer


def _fields(request: web.Request, started_s: float) -> dict[str, object]:
    elapsed_ms = round((time.perf_counter() - started_s) * 1e3, 3)
    fields = {"method": request.method, "path": request.path, "elapsed_ms": elapsed_ms, "client": request.remote}
    return {**fields, **request.get(LOG_FIELDS, {})}
