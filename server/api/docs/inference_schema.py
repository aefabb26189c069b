"""What an inference takes, for the model in service: its headers, its query, its body in each encoding."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from engines.clip import PixelFormat
from engines.manifest import Manifest
from server.api.docs.example_clip import example_frames
from server.batching.clip_queue import Priority
from server.clips.infer_request import (
    DEFAULT_TOP_K,
    JSON,
    MAX_CLIP_ID_CHARACTERS,
    MAX_SIDE_PIXELS,
    MULTIPART,
    OCTET_STREAM,
    InferBody,
    InferParts,
    InferQuery,
)
from server.config.settings import LONGEST_DEADLINE_MS
from server.http.deadline import DEADLINE_HEADER, PRIORITY_HEADER

JsonObject = dict[str, Any]

ENCODINGS = f"""\
The most probable actions, in falling order of the softmax probability over all labels.

- `{JSON}`: pixels or images in base64. The easiest.
- `{MULTIPART}`: a part named `frames` for each frame, an image; everything else is a part of its own. The smallest.
- `{OCTET_STREAM}`: the pixels of all frames back to back, everything else in the query. The fastest.
"""

_PAIRED = {"dependentRequired": {"width": ["height"], "height": ["width"]}}
_IMAGE_TYPES = "image/jpeg, image/png, image/webp"


def inference(manifest: Manifest) -> JsonObject:
    """``parameters`` and ``requestBody`` of the operation."""
    content: JsonObject = {
        JSON: {"schema": _json(manifest), "examples": {"clip": _example(manifest)}},
        MULTIPART: {"schema": _multipart(manifest), "encoding": {"frames": {"contentType": _IMAGE_TYPES}}},
        OCTET_STREAM: {},
    }
    return {
        "parameters": [*_headers(), *_query(manifest)],
        "requestBody": {"required": True, "description": f"{manifest.frames} frames of one size.", "content": content},
    }


def _json(manifest: Manifest) -> JsonObject:
    frame = {
        "type": "string",
        "contentEncoding": "base64",
        # A pixel.
        "minLength": 4,
        "description": "Packed 8-bit pixels, `height * width * 3` bytes, or a JPEG, PNG or WebP image, told by its"
        " signature.",
    }
    schema = _schema(InferBody, manifest)
    schema["properties"]["frames"] |= _exactly(manifest.frames, frame)
    return schema | {"title": "Clip", "description": "A clip in JSON."} | _PAIRED


def _multipart(manifest: Manifest) -> JsonObject:
    image = {"type": "string", "format": "binary", "description": "A JPEG, PNG or WebP image."}
    schema = _without_null(_schema(InferParts, manifest))
    schema["properties"]["frames"] = _exactly(manifest.frames, image)
    return schema | {"title": "ClipParts", "description": "A clip in parts."} | _PAIRED


def _exactly(count: int, frame: JsonObject) -> JsonObject:
    description = f"Exactly {count} of one size, in their order."
    return {"type": "array", "minItems": count, "maxItems": count, "items": frame, "description": description}


def _query(manifest: Manifest) -> list[JsonObject]:
    """Of an octet-stream: the other encodings have these fields in the body."""
    schema = _without_null(_schema(InferQuery, manifest))
    return [_parameter("query", name, field, f"For `{OCTET_STREAM}`: ") for name, field in schema["properties"].items()]


def _parameter(place: str, name: str, schema: JsonObject, prefix: str = "") -> JsonObject:
    description = prefix + schema.pop("description")
    return {"name": name, "in": place, "description": description, "schema": schema}


def _schema(kind: type[msgspec.Struct], manifest: Manifest) -> JsonObject:
    """The schema of the type that reads the fields, with the limits that are checked after that."""
    (_, components) = msgspec.json.schema_components([kind])
    schema: JsonObject = components[kind.__name__]
    for name, limits in _limits(manifest).items():
        schema["properties"][name] |= limits
    return schema


def _limits(manifest: Manifest) -> dict[str, JsonObject]:
    labels = len(manifest.labels)
    side = {"minimum": 1, "maximum": MAX_SIDE_PIXELS}
    pixels = "in pixels; images tell it themselves, and must be of the size given."
    return {
        "width": {"description": f"Width {pixels}", **side},
        "height": {"description": f"Height {pixels}", **side},
        "format": {"description": "Order of the channels of raw pixels.", "enum": list(get_args(PixelFormat))},
        "clip_id": {
            "description": "Comes back with the answer; a new UUID unless given.",
            "maxLength": MAX_CLIP_ID_CHARACTERS,
        },
        "top_k": {
            "description": f"How many predictions; {min(DEFAULT_TOP_K, labels)} unless given.",
            "minimum": 1,
            "maximum": labels,
        },
    }


def _without_null(schema: JsonObject) -> JsonObject:
    """For what travels as text, in which there is no null: fields are left out instead."""
    for field in schema["properties"].values():
        if "anyOf" in field:
            field |= field.pop("anyOf")[0]
            field.pop("default")
    return schema


def _example(manifest: Manifest) -> JsonObject:
    value = {"frames": example_frames(manifest.frames), "top_k": min(3, len(manifest.labels))}
    return {"summary": "A square that moves up, in small images", "value": value}


def _headers() -> list[JsonObject]:
    deadline = {
        "description": "Milliseconds from the request's first byte, after which the answer is 504.",
        "type": "integer",
        "minimum": 1,
        "maximum": LONGEST_DEADLINE_MS,
    }
    priority = {
        "description": "`high` goes before the others.",
        "type": "string",
        "enum": list(get_args(Priority)),
        "default": "normal",
    }
    return [_parameter("header", DEADLINE_HEADER, deadline), _parameter("header", PRIORITY_HEADER, priority)]
