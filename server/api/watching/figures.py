"""``GET /api/v1/service``: the figures of the last hour, and the limits that they are to be seen beside."""

from __future__ import annotations

import math
import time
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from server.api.answers import Status
from server.config.version import VERSION
from server.http.context import SERVICE
from server.http.endpoint import JSON_TYPE
from server.telemetry.history import COLUMNS, History

HISTORY: web.AppKey[History] = web.AppKey("history", History)


class Limits(msgspec.Struct, kw_only=True):
    """The settings that bound the figures."""

    queue_size: int
    max_inflight_bytes: int
    max_streams: int
    max_connections: int
    deadline_ms: int
    decode_threads: int
    previews: bool


class Figures(msgspec.Struct, kw_only=True):
    """The service now and in the last hour; a figure is null where there was nothing to measure."""

    status: Status
    version: str
    now_s: Annotated[float, Meta(description="Unix time of this answer.")]
    engines: Annotated[int, Meta(description="Engines that take clips.")]
    limits: Limits
    columns: Annotated[list[str], Meta(description="Names of the figures of a row.")]
    current: Annotated[list[float | None], Meta(description="A row for the last ten to twenty seconds.")]
    rows: Annotated[list[list[float | None]], Meta(description="A row for every ten seconds, the oldest first.")]


async def figures(request: web.Request) -> web.Response:
    """The figures of the service."""
    service, history = request.app[SERVICE], request.app[HISTORY]
    settings = service.settings
    answer = Figures(
        status=service.health.value,
        version=VERSION,
        now_s=time.time(),
        engines=sum(model.deployed().batcher.engines_serving for model in service.models.ready()),
        limits=Limits(
            queue_size=settings.queue_size,
            max_inflight_bytes=settings.max_inflight_bytes,
            max_streams=settings.max_streams,
            max_connections=settings.max_connections,
            deadline_ms=settings.deadline_ms,
            decode_threads=service.decode_threads.count,
            previews=settings.previews,
        ),
        columns=list(COLUMNS),
        current=_shown(history.current()),
        rows=[_shown(row) for row in history.rows],
    )
    return web.Response(body=msgspec.json.encode(answer), content_type=JSON_TYPE, headers={"Cache-Control": "no-store"})


def _shown(row: tuple[float, ...]) -> list[float | None]:
    return [None if math.isnan(value) else round(value, 3) for value in row]
