"""Who may ask, and how often: before anything of the request but its header is read."""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from server.api_keys import ApiKeys
from server.endpoint import is_open
from server.middleware import LOG_FIELDS
from server.rate_limit import RateLimit


def guarded(keys: ApiKeys | None, limit: RateLimit | None) -> Middleware:
    """Where there are keys, all but health and documents needs one; rates are each key's, else each address's."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_open(request.path):
            return await handler(request)
        client = request.remote or ""
        if keys is not None:
            client = keys.key_id(request.headers.get(hdrs.AUTHORIZATION))
            request[LOG_FIELDS]["key_id"] = client
        if limit is not None:
            limit.check(client)
        return await handler(request)

    return guard
