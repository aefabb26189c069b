"""The header and the query of ``GET /api/v1/events`` for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from server.http.endpoint import Served


def watching(_: Served) -> dict[str, Any]:
    """The parameters of the operation."""
    last_event_id = {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The id of the last event that the client has: it gets what came after that.",
        "schema": {"type": "string"},
    }
    head = {
        "name": "head",
        "in": "query",
        "description": "The name of a head whose predictions to send beside those of each stream, or `all`.",
        "schema": {"type": "string"},
    }
    return {"parameters": [last_event_id, head]}
