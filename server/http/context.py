"""What belongs to an application and to a request, under typed keys."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from server.serving.service import Service

SERVICE = web.AppKey("service", Service)
# The time of the request's first byte, in seconds of the event loop's clock.
FIRST_BYTE_S = web.RequestKey("first_byte_s", float)
# The fields of the access log besides method, path and status.
LOG_FIELDS = web.RequestKey("log_fields", dict[str, Any])
