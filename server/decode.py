"""From base64 text to pixels in the engine's memory."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt
import pybase64

from engines.clip import Clip
from engines.errors import InvalidError, TooLargeError, UnreadableError
from server.images import ImageError, decode_image, image_kind, image_size
from server.wire import InferRequest

Allocate = Callable[[int, int], npt.NDArray[np.uint8]]


def decode_clip(request: InferRequest, allocate: Allocate, max_clip_bytes: int) -> Clip:
    """Decode every frame of ``request`` into one array from ``allocate(height, width)``.

    Raises:
        UnreadableError: base64 or an image cannot be read.
        InvalidError: a frame is not of the size that was said, or not of the size of the others.
        TooLargeError: the pixels would take more than ``max_clip_bytes``.
    """
    first = _frame_bytes(request, 0)
    height, width = request.size or _size_of_image(first, 0)
    _check_clip_bytes(len(request.frames), height, width, max_clip_bytes)
    pixels = allocate(height, width)
    encoded = _write_frame(first, 0, request, pixels)
    for index in range(1, len(request.frames)):
        if _write_frame(_frame_bytes(request, index), index, request, pixels) != encoded:
            raise InvalidError(f"frames[{index}]: raw and encoded frames are mixed in one clip", field=_field(index))
    return Clip(pixels, "BGR" if encoded else request.pixel_format)


def _write_frame(data: bytes, index: int, request: InferRequest, pixels: npt.NDArray[np.uint8]) -> bool:
    """Whether the frame was an encoded image; what has the raw frame's exact length is raw, whatever it begins with."""
    frame = pixels[index]
    if request.size is not None and len(data) == frame.nbytes:
        frame.reshape(-1)[:] = np.frombuffer(data, np.uint8)
        return False
    _write_image(data, index, request, frame)
    return True


def _write_image(data: bytes, index: int, request: InferRequest, frame: npt.NDArray[np.uint8]) -> None:
    kind = image_kind(data)
    if kind is None:
        raise _wrong_length(len(data), index, request)
    if (size := _size_of_image(data, index)) != frame.shape[:2]:
        expected = "width and height say" if request.size else "frames[0] is"
        raise InvalidError(
            f"frames[{index}] is {size[1]} x {size[0]} pixels, but {expected} {frame.shape[1]} x {frame.shape[0]}",
            field=_field(index),
        )
    try:
        decode_image(data, kind, frame)
    except ImageError as error:
        raise UnreadableError(f"frames[{index}] is not a readable {kind}: {error}", field=_field(index)) from None


def _size_of_image(data: bytes, index: int) -> tuple[int, int]:
    kind = image_kind(data)
    if kind is None:
        raise InvalidError(
            f"frames[{index}] is not a JPEG, PNG or WebP image, and without width and height it cannot be raw pixels",
            field=_field(index),
        )
    try:
        return image_size(data, kind)
    except ImageError as error:
        raise UnreadableError(f"frames[{index}] is not a readable {kind}: {error}", field=_field(index)) from None


def _frame_bytes(request: InferRequest, index: int) -> bytes:
    text = memoryview(request.frames[index])
    if text[0] != ord('"'):
        raise InvalidError(f"frames[{index}] is not a string; accepted: base64 text", field=_field(index))
    try:
        return _decode_base64(text)
    except (ValueError, msgspec.DecodeError) as error:
        raise UnreadableError(f"frames[{index}] is not base64: {error}", field=_field(index)) from None


def _decode_base64(text: memoryview) -> bytes:
    """Bytes of a JSON string of base64; some C encoders escape its slashes, which is valid JSON and rare."""
    try:
        return pybase64.b64decode(text[1:-1], validate=True)
    except ValueError:
        if b"\\" not in bytes(text):
            raise
        return pybase64.b64decode(msgspec.json.decode(text, type=str), validate=True)


def _check_clip_bytes(frames: int, height: int, width: int, max_clip_bytes: int) -> None:
    if (clip_bytes := frames * height * width * 3) > max_clip_bytes:
        raise TooLargeError(
            f"{frames} frames of {width} x {height} pixels are {clip_bytes} bytes; accepted: at most {max_clip_bytes}",
            field="frames",
        )


def _wrong_length(sent: int, index: int, request: InferRequest) -> InvalidError:
    if request.size is None:
        return InvalidError(f"frames[{index}] is not a JPEG, PNG or WebP image like frames[0]", field=_field(index))
    height, width = request.size
    return InvalidError(
        f"frames[{index}] holds {sent} bytes, but {width} x {height} pixels in {request.pixel_format} take"
        f" {height * width * 3}; nor is it a JPEG, PNG or WebP image",
        field=_field(index),
    )


def _field(index: int) -> str:
    return f"frames[{index}]"
