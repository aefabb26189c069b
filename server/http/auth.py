"""Who may ask, and how often: before anything of the request but its header is read."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from server.http.endpoint import is_open
from server.http.middleware import LOG_FIELDS
from server.limits.api_keys import ApiKeys

# Counts a client's request; raises RateLimitedError when it is one too many.
CheckRate = Callable[[str], None]


def guarded(keys: ApiKeys | None, check_rate: CheckRate | None) -> Middleware:
    """Where there are keys, all but health and documents needs one; rates are each key's, else each address's."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_open(request.path):
            return await handler(request)
        client = request.remote or ""
        if keys is not None:
            client = keys.key_id(request.headers.get(hdrs.AUTHORIZATION))
            request[LOG_FIELDS]["key_id"] = client
        if check_rate is not None:
            check_rate(client)
        return await handler(request)

    return guard
