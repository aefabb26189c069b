"""What an inference takes: its headers and its body, for the model in service."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from engines.clip import PixelFormat
from engines.manifest import Manifest
from server.api_docs.example_clip import example_frames
from server.clip_queue import Priority
from server.deadline import DEADLINE_HEADER, LONGEST_DEADLINE_MS, PRIORITY_HEADER
from server.endpoint import JSON_TYPE
from server.wire import DEFAULT_TOP_K, MAX_CLIP_ID_CHARACTERS, MAX_SIDE_PIXELS, InferBody

REF = "#/components/schemas/{name}"

_SIDE = {"minimum": 1, "maximum": MAX_SIDE_PIXELS}


def inference(manifest: Manifest) -> dict[str, Any]:
    """``parameters`` and ``requestBody`` of the operation."""
    body = {"schema": _schema(InferBody, manifest), "examples": {"clip": _example(manifest)}}
    return {"parameters": _headers(), "requestBody": {"required": True, "content": {JSON_TYPE: body}}}


def _schema(kind: type[msgspec.Struct], manifest: Manifest) -> dict[str, Any]:
    """The schema of the type that reads the body, with what is checked after that."""
    (_, components) = msgspec.json.schema_components([kind], ref_template=REF)
    schema: dict[str, Any] = components[kind.__name__]
    for name, said in _fields(manifest).items():
        schema["properties"][name] |= said
    return schema | {"title": "Clip", "dependentRequired": {"width": ["height"], "height": ["width"]}}


def _fields(manifest: Manifest) -> dict[str, dict[str, Any]]:
    raw = "for raw pixels; of images they may be left out, and must match"
    return {
        "frames": {
            "type": "array",
            "minItems": manifest.frames,
            "maxItems": manifest.frames,
            "items": {"type": "string", "contentEncoding": "base64"},
            "description": f"Exactly {manifest.frames} frames of one size, in their order. Each is the base64 of packed"
            " 8-bit pixels, `height * width * 3` bytes, or of a JPEG, PNG or WebP image, told by its signature.",
        },
        "width": {"description": f"Pixels; {raw}.", **_SIDE},
        "height": {"description": f"Pixels; {raw}.", **_SIDE},
        "format": {"enum": list(get_args(PixelFormat)), "description": "Order of a raw pixel's channels."},
        "clip_id": {"maxLength": MAX_CLIP_ID_CHARACTERS, "description": "Comes back with the answer; else a new UUID."},
        "top_k": {
            "minimum": 1,
            "maximum": len(manifest.labels),
            "description": f"How many predictions; {min(DEFAULT_TOP_K, len(manifest.labels))} unless said.",
        },
    }


def _example(manifest: Manifest) -> dict[str, Any]:
    value = {"frames": example_frames(manifest.frames), "top_k": min(3, len(manifest.labels))}
    return {"summary": "A square that moves up, in small images", "value": value}


def _headers() -> list[dict[str, Any]]:
    deadline = {"type": "integer", "minimum": 1, "maximum": LONGEST_DEADLINE_MS}
    return [
        {
            "name": DEADLINE_HEADER,
            "in": "header",
            "description": "Milliseconds from the request's first byte, after which the answer is 504.",
            "schema": deadline,
        },
        {
            "name": PRIORITY_HEADER,
            "in": "header",
            "description": "`high` goes before the others.",
            "schema": {"type": "string", "enum": list(get_args(Priority)), "default": "normal"},
        },
    ]
