"""The JSON encoding: an object whose ``frames`` are base64 texts."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import numpy as np
import pybase64

from server.clips.infer_request import InferBody
from server.clips.request_fields import ClipRequest, Offered, checked
from server.errors import InvalidError, UnreadableError, shown

MOST_COUNTED_FRAMES = 10_000

# Shorter strings are left to the parser, because they take no time.
_LONG_BYTES = 1024
_MOST_SHORT_STRINGS = 32
# A value that no field accepts.
_PLACEHOLDER = b"-1"
_COUNTED_BYTES = 2**20
_BACKSLASH = ord("\\")

# JSON may also escape the letters of a key; such a request is for the default model, which then refuses the name.
_MODEL_KEY = b'"model"'

_FIELD_OF_MESSAGE = re.compile(r"^(?P<what>.*?) - at `\$\.?(?P<field>.*)`$")
_FRAME_COUNT_MESSAGE = re.compile(r"^Expected `array` of length .* - at `\$\.frames`$")
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
# A type of its own for each field but the frames, at whose every occurrence msgspec calls a function.
_MET = msgspec.defstruct(
    "Met", [(name, type(name, (), {}), None) for name in InferBody.__struct_fields__ if name != "frames"]
)
_MISSING_FIELD = re.compile(r"^Object missing required field `(?P<field>.*)`$")
_UNKNOWN_FIELD = re.compile(r"^Object contains unknown field `(?P<field>.*)`$")


class _Named(msgspec.Struct):
    """A body of which only the model is read."""

    model: str | None = None


class Base64Frames:
    """The frames as they stand in the body; each is decoded when it is asked for, in any thread."""

    def __init__(self, texts: Sequence[memoryview]) -> None:
        """``texts`` are JSON values; strings have their quotes."""
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> bytes:
        """Raises InvalidError for a value that is no string, UnreadableError for a string that is not base64."""
        text = self._texts[index]
        field = f"frames[{index}]"
        if text[0] != ord('"'):
            raise InvalidError(f"{field} is not a string; accepted: base64 text", field=field)
        try:
            return _decode_base64(text)
        except (ValueError, msgspec.DecodeError) as error:
            raise UnreadableError(f"{field} is not base64: {error}", field=field) from None


def parse_json(body: bytearray, *, frames: int, offered: Offered) -> tuple[ClipRequest, Base64Frames]:
    """Read a JSON body for an engine of ``frames`` frames that answers as ``offered``.

    Raises:
        UnreadableError: not JSON.
        InvalidError: JSON, but not a request for this engine.
    """
    sent, texts = _plain(body, frames) or _parsed(body, frames)
    return checked(sent, offered), Base64Frames(texts)


def model_in_json(body: bytearray) -> str | None:
    """The model that a JSON body names; None without one, and for a body that cannot be read."""
    if _MODEL_KEY not in body:
        return None
    try:
        return msgspec.json.decode(body, type=_Named).model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _plain(body: bytearray, frames: int) -> tuple[InferBody, list[memoryview]] | None:
    """The request without its frames, and the frames; None when the body needs the JSON parser as a whole.

    A JSON parser checks every byte of a string, which takes a millisecond for a clip, and decoding base64 checks them
    again. Here a string ends at the next quote, and the parser gets the body without the long strings. If the quote may
    be escaped, or anything else is unusual, the parser gets the whole body.
    """
    cut = _without_long_strings(body, frames + _MOST_SHORT_STRINGS)
    if cut is None or len(cut[1]) != frames:
        return None
    try:
        sent = msgspec.json.decode(cut[0], type=_exactly(frames))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    _refuse_repeated(cut[0])
    return (sent, cut[1]) if all(bytes(frame) == _PLACEHOLDER for frame in sent.frames) else None


def _without_long_strings(body: bytearray, most: int) -> tuple[bytearray, list[memoryview]] | None:
    """``body`` with a placeholder for each long string, and the long strings; None for more than ``most`` strings."""
    view = memoryview(body)
    kept, at = bytearray(), 0
    long: list[memoryview] = []
    for _ in range(most):
        begin = body.find(b'"', at)
        if max(begin, len(body) if begin < 0 else 0) - at > _LONG_BYTES:
            return None
        if begin < 0:
            return kept + view[at:], long
        end = body.find(b'"', begin + 1) + 1
        if not end or body[end - 2] == _BACKSLASH:
            return None
        if end - begin > _LONG_BYTES:
            kept += view[at:begin]
            kept += _PLACEHOLDER
            long.append(view[begin:end])
        else:
            kept += view[at:end]
        at = end
    return None


def _decode_base64(text: memoryview) -> bytes:
    """The bytes of a JSON string of base64. A few encoders escape its slashes, which is valid JSON."""
    try:
        return pybase64.b64decode(text[1:-1], validate=True)
    except ValueError:
        if b"\\" not in bytes(text):
            raise
        return pybase64.b64decode(msgspec.json.decode(text, type=str), validate=True)


def _parsed(body: bytearray, frames: int) -> tuple[InferBody, list[memoryview]]:
    try:
        sent = _decoded_as(body, _exactly(frames))
        _refuse_repeated(body)
        return sent, [memoryview(text) for text in sent.frames]
    except _WrongFrameCountError:
        # The rest of the body is checked first, so that its other faults are reported as with the right frame count.
        array = bytes(_decoded_as(body, _body_type(msgspec.Raw)).frames)
        raise InvalidError(
            f"frames holds {_told_count(array)} frames; this model takes exactly {frames}", field="frames"
        ) from None


def _decoded_as(body: bytearray, kind: type[InferBody]) -> InferBody:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        if _FRAME_COUNT_MESSAGE.match(str(error)):
            raise _WrongFrameCountError from None
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"the body is not JSON: {error}") from None


def _refuse_repeated(body: bytearray) -> None:
    """Raises InvalidError if a field of a valid ``body`` is there twice; a JSON parser takes its last value.

    The colons of an object that are in none of its values follow its names, so that no name has to be searched for.
    """
    fields = _FIELDS.decode(body)
    surplus = _colons(body) - len(fields)
    if surplus and surplus != sum(_colons(value) for value in fields.values()):
        name = _repeated(body)
        raise InvalidError(f"{name} is there twice", field=name)


def _colons(text: bytearray | msgspec.Raw) -> int:
    """The number of colons. In long texts ``bytes.count`` takes longer than parsing does."""
    if len(text) < _LONG_BYTES:
        return bytes(text).count(b":")
    codes = np.frombuffer(text, np.uint8)
    pieces = (codes[at : at + _COUNTED_BYTES] for at in range(0, len(codes), _COUNTED_BYTES))
    return sum(int(np.count_nonzero(piece == ord(":"))) for piece in pieces)


def _repeated(body: bytearray) -> str:
    """The name of a field that is there twice, when one is."""
    seen: set[str] = set()
    repeated: list[str] = []

    def meet(kind: type, value: object) -> object:
        (repeated.append if kind.__name__ in seen else seen.add)(kind.__name__)
        return kind()

    msgspec.json.decode(body, type=_MET, dec_hook=meet)
    return repeated[0] if repeated else "frames"


@functools.cache
def _exactly(frames: int) -> type[InferBody]:
    return _body_type(tuple.__class_getitem__((msgspec.Raw,) * frames))


@functools.cache
def _body_type(frames: Any) -> type[InferBody]:
    """``InferBody`` whose ``frames`` is a tuple of exactly the engine's count.

    With a list, the parser would make an object of each element before the count is checked: a body of 64 MiB has room
    for 22 million empty frames, which are gigabytes of objects.
    """
    made = msgspec.defstruct("InferBody", [("frames", frames)], bases=(InferBody,), forbid_unknown_fields=True)
    return cast(type[InferBody], made)


def _told_count(array: bytes) -> str:
    if array.count(b",") >= MOST_COUNTED_FRAMES:
        return f"over {MOST_COUNTED_FRAMES}"
    try:
        return str(len(msgspec.json.decode(array, type=list[msgspec.Raw])))
    except msgspec.ValidationError:  # the field is there twice, and the last value is no array
        return "another number of"


class _WrongFrameCountError(Exception):
    pass


def _invalid(message: str) -> InvalidError:
    if found := _MISSING_FIELD.match(message):
        return InvalidError(f"{found['field']} is missing", field=found["field"])
    if found := _UNKNOWN_FIELD.match(message):
        accepted = ", ".join(InferBody.__struct_fields__)
        name = shown(found["field"])
        return InvalidError(f"unknown field {name}; accepted: {accepted}", field=name)
    if found := _FIELD_OF_MESSAGE.match(message):
        name = shown(found["field"])
        return InvalidError(f"{name}: {found['what'][0].lower()}{found['what'][1:]}", field=name)
    return InvalidError(f"the body is not a request: {message[0].lower()}{message[1:]}")
