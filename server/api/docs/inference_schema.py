"""The OpenAPI description of an inference request for the model in service: headers, query and bodies."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
import numpy as np
from PIL import Image

from engines.clip import PixelFormat
from engines.linear_heads.manifest import ALL
from engines.manifest import Manifest
from server.batching.clip_queue import Priority
from server.clips.infer_request import (
    CLASSIFIES_ONLY,
    DEFAULT_TOP_K,
    EMBEDS_ONLY,
    JSON,
    MAX_CLIP_ID_CHARACTERS,
    MAX_SIDE_PIXELS,
    MULTIPART,
    OCTET_STREAM,
    EncodingFormat,
    InferBody,
    InferParts,
    InferQuery,
)
from server.config.settings import LONGEST_DEADLINE_MS
from server.http.deadline import DEADLINE_HEADER, PRIORITY_HEADER
from server.http.endpoint import Served

JsonObject = dict[str, Any]

ENCODINGS = f"""\
Returns the most probable actions, sorted by their softmax probability over all labels, the highest first.

- `{JSON}`: raw pixels or images in base64. It is the simplest to write.
- `{MULTIPART}`: one part named `frames` with an image for each frame, and one part for each other field. It is the \
smallest.
- `{OCTET_STREAM}`: the raw pixels of all frames one after the other, with the other fields in the query. It is the \
fastest.
"""

EMBEDDINGS = """\
Returns the features that the network computes of a clip, which takes the encodings of `/api/v1/infer`. Clips that show
alike have features that are near each other. With `Accept: application/octet-stream`, the answer is little-endian
float32 without anything around it.
"""

_PAIRED = {"dependentRequired": {"width": ["height"], "height": ["width"]}}
_IMAGE_TYPES = "image/jpeg, image/png, image/webp"
_EXAMPLE_SIDE_PIXELS = 32
_EXAMPLE_SQUARE_PIXELS = 8


def inference(served: Served) -> JsonObject:
    """``parameters`` and ``requestBody`` of the operation object."""
    return _request(served, EMBEDS_ONLY)


def embedding(served: Served) -> JsonObject:
    """The same for a request for features."""
    return _request(served, CLASSIFIES_ONLY)


def _request(served: Served, without: Sequence[str]) -> JsonObject:
    """The request whose fields are all but ``without``."""
    manifest = served.manifest
    json, multipart = _json(served, without), _multipart(served, without)
    content: JsonObject = {
        JSON: {"schema": json, "examples": {"clip": _example(manifest, without)}},
        MULTIPART: {"schema": multipart, "encoding": {"frames": {"contentType": _IMAGE_TYPES}}},
        OCTET_STREAM: {},
    }
    return {
        "parameters": [*header_parameters(), *_query(served, without)],
        "requestBody": {
            "required": True,
            "description": f"{manifest.frames} frames of the same size.",
            "content": content,
        },
    }


def _json(served: Served, without: Sequence[str]) -> JsonObject:
    frame = {
        "type": "string",
        "contentEncoding": "base64",
        # Four characters of base64 are the three bytes of one pixel.
        "minLength": 4,
        "description": "Packed 8-bit pixels, `height * width * 3` bytes, or a JPEG, PNG or WebP image, recognised"
        " by its signature.",
    }
    schema = _schema(InferBody, served, without)
    schema["properties"]["frames"] |= _exactly(served.manifest.frames, frame)
    return schema | {"title": "Clip", "description": "A clip as JSON."} | _PAIRED


def _multipart(served: Served, without: Sequence[str]) -> JsonObject:
    image = {"type": "string", "format": "binary", "description": "A JPEG, PNG or WebP image."}
    schema = _without_null(_schema(InferParts, served, without))
    # Of the page's own form (assets/clip-form.js); OpenAPI has no way to give files as an example.
    example = {"x-example-images": _example(served.manifest, without)["value"]["frames"]}
    schema["properties"]["frames"] = _exactly(served.manifest.frames, image) | example
    return schema | {"title": "ClipParts", "description": "A clip as a multipart form."} | _PAIRED


def _exactly(count: int, frame: JsonObject) -> JsonObject:
    description = f"Exactly {count} frames of one size, in the order of time."
    return {"type": "array", "minItems": count, "maxItems": count, "items": frame, "description": description}


def _query(served: Served, without: Sequence[str]) -> list[JsonObject]:
    """The query parameters of an octet-stream; the other encodings have these fields in the body, or the model here."""
    fields = _without_null(_schema(InferQuery, served, without))["properties"]
    only = f"For `{OCTET_STREAM}` only. "
    return [_parameter("query", name, field, "" if name == "model" else only) for name, field in fields.items()]


def _parameter(place: str, name: str, schema: JsonObject, prefix: str = "") -> JsonObject:
    description = prefix + schema.pop("description")
    return {"name": name, "in": place, "description": description, "schema": schema}


def _schema(kind: type[msgspec.Struct], served: Served, without: Sequence[str]) -> JsonObject:
    """The schema of the type that parses the fields, with the limits that are checked after parsing."""
    (_, components) = msgspec.json.schema_components([kind])
    schema: JsonObject = components[kind.__name__]
    for name, limits in _limits(served).items():
        schema["properties"][name] |= limits
    for name in without:
        del schema["properties"][name]
    return schema


def _limits(served: Served) -> dict[str, JsonObject]:
    labels = len(served.manifest.labels)
    side = {"minimum": 1, "maximum": MAX_SIDE_PIXELS}
    pixels = "of the frames in pixels. It may be omitted for images; if it is given, the images must match it."
    return {
        "width": {"description": f"Width {pixels}", **side},
        "height": {"description": f"Height {pixels}", **side},
        "format": {"description": "Order of the colour channels in raw pixels.", "enum": list(get_args(PixelFormat))},
        "clip_id": {
            "description": "Identifier of the clip, which the answer repeats; a new UUID by default.",
            "maxLength": MAX_CLIP_ID_CHARACTERS,
        },
        "top_k": {
            "description": f"Number of predictions in the answer; {min(DEFAULT_TOP_K, labels)} by default.",
            "minimum": 1,
            **({"maximum": labels} if labels else {}),
        },
        "head": {
            "description": "Name of a head whose labels to answer with, or `all`; see `heads` in `/api/v1/models`."
            " Without it, the labels are the model's own.",
            # A name that is not served is refused, so that none can be made up.
            "enum": [ALL],
        },
        "model": {
            "description": "Name of the model that answers; see `served_as` in `/api/v1/models`. Without it, the first"
            " one of the service answers.",
            "enum": list(served.names),
        },
        "encoding_format": {
            "description": "How the embedding stands in JSON: as numbers, or as base64 of little-endian float32.",
            "enum": list(get_args(EncodingFormat)),
        },
    }


def _without_null(schema: JsonObject) -> JsonObject:
    """Remove null from ``schema``, because text has no null: fields are omitted instead."""
    for field in schema["properties"].values():
        if "anyOf" in field:
            field |= field.pop("anyOf")[0]
            field.pop("default")
    return schema


def _example(manifest: Manifest, without: Sequence[str]) -> JsonObject:
    chosen = {"top_k": min(3, len(manifest.labels))} if manifest.labels else {"head": ALL}
    value = {"frames": example_frames(manifest)} | ({} if "top_k" in without else chosen)
    return {"summary": "A square that moves up, as small images", "value": value}


def example_frames(manifest: Manifest) -> list[str]:
    """The frames of a clip in which a square moves up, as images in base64."""
    return [_example_frame(index / max(1, manifest.frames - 1)) for index in range(manifest.frames)]


def _example_frame(progress: float) -> str:
    """The frame at ``progress`` (0 to 1) of a clip in which a bright square moves up: a PNG image in base64."""
    pixels = np.zeros((_EXAMPLE_SIDE_PIXELS, _EXAMPLE_SIDE_PIXELS), np.uint8)
    top = round((1 - progress) * (_EXAMPLE_SIDE_PIXELS - _EXAMPLE_SQUARE_PIXELS))
    left = (_EXAMPLE_SIDE_PIXELS - _EXAMPLE_SQUARE_PIXELS) // 2
    pixels[top : top + _EXAMPLE_SQUARE_PIXELS, left : left + _EXAMPLE_SQUARE_PIXELS] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).convert("1").save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def header_parameters() -> list[JsonObject]:
    """The headers for the deadline and the priority of a request."""
    deadline = {
        "description": "Milliseconds from the first byte of the request after which it is answered with 504.",
        "type": "integer",
        "minimum": 1,
        "maximum": LONGEST_DEADLINE_MS,
    }
    priority = {
        "description": "`high` is classified before others that wait; `low` one at a time while nothing else waits.",
        "type": "string",
        "enum": list(get_args(Priority)),
        "default": "normal",
    }
    return [_parameter("header", DEADLINE_HEADER, deadline), _parameter("header", PRIORITY_HEADER, priority)]
