"""Checks keys and rates before the body of a request is read."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from server.http.context import LOG_FIELDS
from server.http.endpoint import policy_of
from server.limits.api_keys import ApiKeys

# Counts a request of a client; raises RateLimitedError when the client has sent too many.
CheckRate = Callable[[str], None]


def guarded(keys: ApiKeys | None, check_rate: CheckRate | None) -> Middleware:
    """Check key and rate where the policy of the endpoint asks for them; without keys, a rate is that of an address."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not policy_of(request).needs_key:
            return await handler(request)
        client = request.remote or ""
        if keys is not None:
            client = keys.key_id(request.headers.get(hdrs.AUTHORIZATION))
            request[LOG_FIELDS]["key_id"] = client
        if check_rate is not None:
            check_rate(client)
        return await handler(request)

    return guard
