"""What a request to classify or to embed a clip may hold, in each of its encodings."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

MAX_SIDE_PIXELS = 16384
MAX_CLIP_ID_CHARACTERS = 256
DEFAULT_TOP_K = 5

JSON = "application/json"
OCTET_STREAM = "application/octet-stream"
MULTIPART = "multipart/form-data"


EncodingFormat = Literal["float", "base64"]
# Fields that only one of the two endpoints takes.
CLASSIFIES_ONLY = ("top_k", "head")
EMBEDS_ONLY = ("encoding_format",)


class InferBody(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON body as sent; ``frames`` stay in the body until they are decoded."""

    frames: Any
    width: int | None = None
    height: int | None = None
    format: str = "BGR"
    clip_id: str | None = None
    top_k: int | None = None
    head: str | None = None
    model: str | None = None
    encoding_format: str | None = None


class InferQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The query of an octet-stream, whose body is the packed pixels of all frames."""

    width: int
    height: int
    format: str = "BGR"
    clip_id: str | None = None
    top_k: int | None = None
    head: str | None = None
    model: str | None = None
    encoding_format: str | None = None


class InferParts(msgspec.Struct, forbid_unknown_fields=True):
    """The parts of a multipart body: an encoded image named ``frames`` for each frame; the others are texts."""

    frames: list[bytes]
    width: int | None = None
    height: int | None = None
    format: str = "BGR"
    clip_id: str | None = None
    top_k: int | None = None
    head: str | None = None
    model: str | None = None
    encoding_format: str | None = None
