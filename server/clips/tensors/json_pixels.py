"""The elements of a tensor that stand in the JSON of a request."""

from __future__ import annotations

import functools
import math
import re
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from server.clips.json_encoding import Base64Frames
from server.clips.tensors.frames_tensor import FRAMES
from server.errors import InvalidError

_DIGITS = b"0123456789"
_SPACES = b" \t\r\n"
_TOO_LONG = re.compile(rb"\d{4}")
_WHOLE_NUMBERS = "the data of frames must be whole numbers from 0 to 255"


def json_pixels(text: msgspec.Raw, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """uint8 of ``shape`` from valid JSON: nested as the shape is, or flat. Raises InvalidError.

    A JSON parser would make an object of each of millions of elements. Here the commas and brackets are compared with
    those of the shape, and the digits between them are read by NumPy.
    """
    compact = bytes(text).translate(None, _SPACES)
    marks = compact.translate(None, _DIGITS)
    if marks.strip(b"[,]"):
        raise InvalidError(_WHOLE_NUMBERS, field=FRAMES)
    # The number of commas bounds what is made for the comparison.
    if marks.count(b",") != math.prod(shape) - 1 or marks not in (_flat(shape), _nested(shape)):
        raise InvalidError(
            f"the data of frames is neither nested as its shape {list(shape)} says, nor a flat list of as many numbers",
            field=FRAMES,
        )
    numbers = compact.translate(None, b"[]")
    if _TOO_LONG.search(numbers):
        raise InvalidError(_WHOLE_NUMBERS, field=FRAMES)
    values = np.fromstring(numbers, np.int16, sep=",")
    if values.max() > np.iinfo(np.uint8).max:
        raise InvalidError(_WHOLE_NUMBERS, field=FRAMES)
    return values.astype(np.uint8).reshape(shape)


def json_images(text: msgspec.Raw, clips: int, frames: int) -> list[Base64Frames]:
    """The base64 texts of each clip; raises InvalidError."""
    for kind in (_nested_images(clips, frames), _list_of(clips * frames)):
        try:
            found = msgspec.json.decode(text, type=kind)
        except msgspec.DecodeError:
            continue
        rows = (
            found if isinstance(found[0], tuple) else [found[at : at + frames] for at in range(0, len(found), frames)]
        )
        return [Base64Frames([memoryview(image) for image in row]) for row in rows]
    raise InvalidError(
        f"the data of frames must be {clips} lists of {frames} base64 texts, or one list of {clips * frames}",
        field=FRAMES,
    )


def _flat(shape: tuple[int, ...]) -> bytes:
    return b"[" + b"," * (math.prod(shape) - 1) + b"]"


def _nested(shape: tuple[int, ...]) -> bytes:
    """The brackets and commas of nested lists of ``shape``."""
    marks = b""
    for count in reversed(shape):
        marks = b"[" + b",".join([marks] * count) + b"]"
    return marks


@functools.cache
def _list_of(count: int, kind: Any = msgspec.Raw) -> Any:
    """A list of exactly ``count``: of a longer one the parser makes no objects."""
    return tuple.__class_getitem__((kind,) * count)


@functools.cache
def _nested_images(clips: int, frames: int) -> Any:
    return _list_of(clips, _list_of(frames))
