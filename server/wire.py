"""What travels over HTTP: the request as it was asked, checked as far as it can be without its pixels; the answer."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args
from uuid import uuid4

import msgspec
import numpy as np
import numpy.typing as npt

from engines.clip import PixelFormat
from engines.errors import InvalidError, UnreadableError

MAX_SIDE_PIXELS = 16384
MAX_CLIP_ID_CHARACTERS = 256
MOST_COUNTED_FRAMES = 10_000
DEFAULT_TOP_K = 5

_FORMATS: tuple[PixelFormat, ...] = get_args(PixelFormat)
_FIELD_OF_MESSAGE = re.compile(r"^(?P<what>.*?) - at `\$\.?(?P<field>.*)`$")
_FRAME_COUNT_MESSAGE = re.compile(r"^Expected `array` of length .* - at `\$\.frames`$")
_MISSING_FIELD = re.compile(r"^Object missing required field `(?P<field>.*)`$")
_UNKNOWN_FIELD = re.compile(r"^Object contains unknown field `(?P<field>.*)`$")


class InferBody(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON body as sent; ``frames`` stay where they lie in the body until they are decoded into place."""

    frames: Any
    width: int | None = None
    height: int | None = None
    format: str = "BGR"
    clip_id: str | None = None
    top_k: int | None = None


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request whose every field but the pixels is known to be good; ``frames`` are JSON strings of base64."""

    frames: Sequence[msgspec.Raw]
    size: tuple[int, int] | None
    pixel_format: PixelFormat
    clip_id: str
    top_k: int


class Prediction(msgspec.Struct):
    """``confidence`` is the softmax probability over all labels."""

    label: str
    confidence: float


class TimingsMs(msgspec.Struct):
    """Milliseconds of each phase of one request; ``total`` runs from its first to its last byte here."""

    decode: float
    queue: float
    infer: float
    total: float


class InferAnswer(msgspec.Struct):
    """Body of a 200."""

    predictions: list[Prediction]
    clip_id: str
    model: str
    timings_ms: TimingsMs


def parse_infer(body: bytes, *, frames: int, labels: int) -> InferRequest:
    """Read a JSON body for an engine of ``frames`` frames and ``labels`` labels.

    Raises:
        UnreadableError: not JSON.
        InvalidError: JSON, but not a request for this engine.
    """
    asked = _decoded(body, frames)
    return InferRequest(
        frames=asked.frames,
        size=_checked_size(asked.height, asked.width),
        pixel_format=_checked_format(asked.format),
        clip_id=_checked_clip_id(asked.clip_id),
        top_k=_checked_top_k(asked.top_k, labels),
    )


def top_predictions(probabilities: npt.NDArray[np.float32], labels: Sequence[str], top_k: int) -> list[Prediction]:
    """The ``top_k`` most probable of ``probabilities``, float32 [labels], in falling order."""
    order = np.argsort(-probabilities, kind="stable")[:top_k]
    return [Prediction(labels[index], round(float(probabilities[index]), 6)) for index in order]


def _decoded(body: bytes, frames: int) -> InferBody:
    try:
        return _decoded_as(body, _body_type(tuple.__class_getitem__((msgspec.Raw,) * frames)))
    except _WrongFrameCountError:
        # The rest of the body is read too, so that its faults are told as they are with the right frame count.
        array = bytes(_decoded_as(body, _body_type(msgspec.Raw)).frames)
        raise InvalidError(
            f"frames holds {_told_count(array)} frames; this model takes exactly {frames}", field="frames"
        ) from None


def _decoded_as(body: bytes, kind: type[InferBody]) -> InferBody:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        if _FRAME_COUNT_MESSAGE.match(str(error)):
            raise _WrongFrameCountError from None
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"the body is not JSON: {error}") from None


@functools.cache
def _body_type(frames: Any) -> type[InferBody]:
    """With ``frames`` a tuple of exactly the engine's count: of a list, each element becomes an object first.

    A body of 64 MiB has room for 22 million empty frames, which are gigabytes of objects.
    """
    made = msgspec.defstruct("InferBody", [("frames", frames)], bases=(InferBody,), forbid_unknown_fields=True)
    return cast(type[InferBody], made)


def _told_count(array: bytes) -> str:
    if array.count(b",") >= MOST_COUNTED_FRAMES:
        return f"over {MOST_COUNTED_FRAMES}"
    try:
        return str(len(msgspec.json.decode(array, type=list[msgspec.Raw])))
    except msgspec.ValidationError:  # the field is there twice, and the last one is no array
        return "another number of"


class _WrongFrameCountError(Exception):
    pass


def _checked_size(height: int | None, width: int | None) -> tuple[int, int] | None:
    if height is None and width is None:
        return None
    for name, side in (("height", height), ("width", width)):
        if side is None:
            raise InvalidError(f"{name} is missing; give both width and height, or neither", field=name)
        if not 1 <= side <= MAX_SIDE_PIXELS:
            raise InvalidError(f"{name} is {side}; accepted: 1 to {MAX_SIDE_PIXELS} pixels", field=name)
    return (height, width) if height is not None and width is not None else None


def _checked_format(name: str) -> PixelFormat:
    for known in _FORMATS:
        if name == known:
            return known
    raise InvalidError(f"format is {name[:32]!r}; accepted: {', '.join(_FORMATS)}", field="format")


def _checked_clip_id(clip_id: str | None) -> str:
    if clip_id is None:
        return str(uuid4())
    if len(clip_id) > MAX_CLIP_ID_CHARACTERS:
        raise InvalidError(
            f"clip_id has {len(clip_id)} characters; accepted: at most {MAX_CLIP_ID_CHARACTERS}", field="clip_id"
        )
    return clip_id


def _checked_top_k(top_k: int | None, labels: int) -> int:
    if top_k is None:
        return min(DEFAULT_TOP_K, labels)
    if not 1 <= top_k <= labels:
        raise InvalidError(f"top_k is {top_k}; accepted: 1 to {labels}, the model's label count", field="top_k")
    return top_k


def _invalid(message: str) -> InvalidError:
    if found := _MISSING_FIELD.match(message):
        return InvalidError(f"{found['field']} is missing", field=found["field"])
    if found := _UNKNOWN_FIELD.match(message):
        accepted = ", ".join(InferBody.__struct_fields__)
        return InvalidError(f"unknown field {found['field']}; accepted: {accepted}", field=found["field"])
    if found := _FIELD_OF_MESSAGE.match(message):
        return InvalidError(f"{found['field']}: {found['what'][0].lower()}{found['what'][1:]}", field=found["field"])
    return InvalidError(f"the body is not a request: {message[0].lower()}{message[1:]}")
