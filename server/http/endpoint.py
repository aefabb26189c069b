"""What an endpoint is: the one place that says what it takes and with what it answers, for routes and documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from engines.errors import RateLimitedError, RequestError, UnauthorizedError
from engines.manifest import Manifest

JSON_TYPE = "application/json"

# Pages send no keys, and load balancers have none.
_OPEN = ("/health", "/docs", "/redoc", "/openapi.json")


@dataclass(frozen=True)
class Body:
    """What comes with a status; of JSON, ``example`` is an instance of its type. ``headers`` are those of its own."""

    description: str
    example: msgspec.Struct | str
    media_type: str = JSON_TYPE
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Endpoint:
    """``errors`` become answers by ``server/problem.py``; ``request`` makes OpenAPI's parameters and requestBody."""

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    name: str
    tag: str
    summary: str
    answers: Mapping[HTTPStatus, Body]
    description: str = ""
    errors: tuple[type[RequestError], ...] = ()
    request: Callable[[Manifest], dict[str, Any]] | None = None
    route: dict[str, Any] = field(default_factory=dict)

    @property
    def guarded(self) -> bool:
        """Whether it needs a key, where there are keys."""
        return not is_open(self.path)

    @property
    def all_errors(self) -> tuple[type[RequestError], ...]:
        """With those that everything that needs a key may answer with."""
        return (*self.errors, UnauthorizedError, RateLimitedError) if self.guarded else self.errors

    def added_to(self, app: web.Application) -> None:
        """Have ``app`` answer there; to GET also without the body (HEAD)."""
        if self.method == "GET":
            app.router.add_get(self.path, self.handler, **self.route)
        else:
            app.router.add_route(self.method, self.path, self.handler, **self.route)


def is_open(path: str) -> bool:
    """Whether ``path`` needs no key and counts against no rate."""
    return any(path == place or path.startswith(f"{place}/") for place in _OPEN)


ENDPOINTS: web.AppKey[tuple[Endpoint, ...]] = web.AppKey("endpoints", tuple)
