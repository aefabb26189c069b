"""The request with a video for the OpenAPI document."""

from __future__ import annotations

from typing import Any

import msgspec

from server.http.endpoint import Served
from server.recordings.request import RecordingRequest

DESCRIPTION = """\
Labels a whole video file. The answer has a line of JSON for each window, as it is classified, then one for each
segment, and at last one of the type `ended`; an answer that cannot be finished ends with one of the type `error`.
Windows are classified while no other clip waits. The service accepts videos from this machine, or from others where it
runs with `--video`.
"""
_TYPES = ("video/mp4", "video/webm", "video/x-matroska", "application/octet-stream")


def recording(served: Served) -> dict[str, Any]:
    """The parameters and the body."""
    (_, components) = msgspec.json.schema_components([RecordingRequest])
    fields: dict[str, dict[str, Any]] = components[RecordingRequest.__name__]["properties"]
    return {
        "parameters": [_parameter(name, field, served) for name, field in fields.items()],
        "requestBody": {
            "required": True,
            "description": "A video file, in any container and codec that FFmpeg reads.",
            "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _TYPES},
        },
    }


def _parameter(name: str, field: dict[str, Any], served: Served) -> dict[str, Any]:
    schema = next((part for part in field.get("anyOf", ()) if part != {"type": "null"}), field)
    description = schema.pop("description", None) or field.pop("description")
    schema = {key: value for key, value in schema.items() if key != "default" or value is not None}
    if name == "model":
        schema["enum"] = list(served.names)
    if name == "top_k":
        schema["maximum"] = len(served.manifest.labels)
    return {"name": name, "in": "query", "description": description, "schema": schema}
