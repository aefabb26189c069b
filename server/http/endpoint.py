"""What an endpoint is: where it stands, what it answers, and which policies hold for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from engines.manifest import Manifest
from server.errors import RateLimitedError, RequestError, UnauthorizedError, VersionError

JSON_TYPE = "application/json"


@dataclass(frozen=True)
class ResponseBody:
    """What comes with a status. A JSON body is described by ``example``, an instance of its type.

    ``raw``: the answer also comes as an octet-stream, to clients that accept only that.
    """

    description: str
    example: msgspec.Struct | str
    media_type: str = JSON_TYPE
    headers: tuple[str, ...] = ()
    raw: bool = False


@dataclass(frozen=True)
class Served:
    """What the documents are made for: the default model, and the ``names`` of all in service."""

    manifest: Manifest
    names: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """How requests to an endpoint are treated.

    ``needs_key``: a key is needed where there are keys, and its rate counts. ``has_page``: those who ask for HTML get a
    page that tells nothing of the service, and need no key for it. ``counted``: each request is counted when
    it comes and by how it ends. ``traced``: each request is a span. ``documented``: the endpoint is in the OpenAPI
    document and in the list of ``GET /``. ``log_level``: of its line in the access log, as in ``logging``.
    """

    needs_key: bool = True
    has_page: bool = False
    counted: bool = False
    traced: bool = False
    documented: bool = True
    log_level: int = logging.INFO


@dataclass(frozen=True)
class Endpoint:
    """``errors`` become answers by ``server/http/problem.py``.

    ``request`` makes the parameters and the requestBody of the OpenAPI document. ``route`` goes to aiohttp's router.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Handler
    name: str
    tag: str
    summary: str
    answers: Mapping[HTTPStatus, ResponseBody]
    description: str = ""
    errors: tuple[type[RequestError], ...] = ()
    request: Callable[[Served], dict[str, Any]] | None = None
    route: dict[str, Any] = field(default_factory=dict)
    policy: Policy = Policy()

    @property
    def all_errors(self) -> tuple[type[RequestError], ...]:
        """The errors of the endpoint itself, those of keys and rates where they hold for it, and those of HTTP."""
        keyed = (UnauthorizedError, RateLimitedError) if self.policy.needs_key else ()
        return (*self.errors, *keyed, VersionError)


ENDPOINTS: web.AppKey[tuple[Endpoint, ...]] = web.AppKey("endpoints", tuple)
_BY_ROUTE: web.AppKey[dict[web.AbstractRoute, Endpoint]] = web.AppKey("endpoints_by_route", dict)
# Of a request that no endpoint takes: it is refused, after its key was checked.
_NO_ENDPOINT = Policy()


def add_endpoints(app: web.Application, endpoints: tuple[Endpoint, ...]) -> None:
    """Have ``app`` answer at each of ``endpoints``, and to HEAD where it answers to GET."""
    app[ENDPOINTS] = tuple(endpoint for endpoint in endpoints if endpoint.policy.documented)
    app[_BY_ROUTE] = {}
    for endpoint in endpoints:
        methods = (hdrs.METH_HEAD, hdrs.METH_GET) if endpoint.method == "GET" else (endpoint.method,)
        for method in methods:
            route = app.router.add_route(method, endpoint.path, endpoint.handler, **endpoint.route)
            app[_BY_ROUTE][route] = endpoint


def policy_of(request: web.Request) -> Policy:
    """The policy of the endpoint that ``request`` is for."""
    endpoint = request.app[_BY_ROUTE].get(request.match_info.route)
    return endpoint.policy if endpoint else _NO_ENDPOINT
