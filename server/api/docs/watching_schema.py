"""The header of ``GET /api/v1/events`` for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from server.http.endpoint import Served


def last_event_id(_: Served) -> dict[str, Any]:
    """The parameters of the operation."""
    parameter = {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The id of the last event that the client has: it gets what came after that.",
        "schema": {"type": "string"},
    }
    return {"parameters": [parameter]}
