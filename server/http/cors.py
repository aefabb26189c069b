"""Cross-origin requests from web pages, which browsers refuse unless the service allows their origin."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from server.errors import ForbiddenError

_MAX_AGE_S = 600
_EXPOSED = "Server-Timing, X-Request-Id, Retry-After"


def allow_origins(origins: Sequence[str]) -> Middleware:
    """Allow pages of ``origins``; ``*`` allows every page."""

    @web.middleware
    async def cors(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or not ("*" in origins or origin in origins):
            return await handler(request)
        preflight = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        answer = _preflight(request) if preflight else await handler(request)
        answer.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        answer.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED
        answer.headers[hdrs.VARY] = hdrs.ORIGIN
        return answer

    return cors


def check_origin(request: web.Request, allowed: Sequence[str]) -> None:
    """Raises ForbiddenError for a page of another origin; programs other than browsers send no ``Origin``."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None or "*" in allowed or origin in allowed or urlsplit(origin).netloc == request.host:
        return
    raise ForbiddenError("pages of this origin may not use this endpoint (--cors-origins)", field="Origin")


def _preflight(request: web.Request) -> web.Response:
    return web.Response(
        status=204,
        headers={
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST",
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, ""),
            hdrs.ACCESS_CONTROL_MAX_AGE: str(_MAX_AGE_S),
        },
    )
