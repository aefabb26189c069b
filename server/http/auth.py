"""Checks keys and rates before the body of a request is read."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from server.http.accept import asks_for_html
from server.http.context import LOG_FIELDS
from server.http.endpoint import policy_of
from server.limits.api_keys import ApiKeys

# Counts a request of a client; raises RateLimitedError when the client has sent too many.
CheckRate = Callable[[str], None]


class Guard:
    """Checks the key of a request and counts it for the rate of its key, or of its address if there are no keys."""

    def __init__(self, keys: ApiKeys | None, check_rate: CheckRate | None) -> None:
        self._keys = keys
        self._check_rate = check_rate

    def check(self, request: web.Request, authorization: str | None) -> None:
        """Raises UnauthorizedError or RateLimitedError; ``authorization`` is a value of that header."""
        client = request.remote or ""
        if self._keys is not None:
            client = self._keys.key_id(authorization)
            request[LOG_FIELDS]["key_id"] = client
        if self._check_rate is not None:
            self._check_rate(client)


GUARD: web.AppKey[Guard] = web.AppKey("guard", Guard)


@web.middleware
async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check key and rate where the policy of the endpoint asks for them."""
    policy = policy_of(request)
    if policy.needs_key and not (policy.has_page and asks_for_html(request)):
        request.app[GUARD].check(request, request.headers.get(hdrs.AUTHORIZATION))
    return await handler(request)
