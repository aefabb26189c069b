"""From frames as they were sent to pixels in the memory of the engine."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engines.clip import Clip
from server.clips.images import ImageError, decode_image, decode_seconds, image_kind, image_size
from server.clips.request_fields import ClipRequest
from server.errors import InvalidError, TooLargeError, UnreadableError

Allocate = Callable[[int, int], npt.NDArray[np.uint8]]


class Turns(Protocol):
    """Threads at which requests take turns."""

    def for_each(self, work: Callable[[int], None], count: int) -> Generator[Any]:
        """Call ``work`` with each number below ``count``, in any order and thread; raise the error of the lowest."""
        ...

    def expect(self, step_s: float) -> None:
        """Called by ``work`` before it takes ``step_s``; it may end the call, which then comes again."""
        ...


class Frames(Protocol):
    """The frames of a clip, each as packed pixels or an encoded image."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> bytes:
        """The frame at ``index``; called once for each index, from any thread; may raise RequestError."""
        ...


def check_clip_bytes(frames: int, height: int, width: int, max_clip_bytes: int) -> None:
    """Raises TooLargeError when so many frames of that size take more than ``max_clip_bytes``."""
    if (clip_bytes := frames * height * width * 3) > max_clip_bytes:
        raise TooLargeError(
            f"{frames} frames of {width} x {height} pixels are {clip_bytes} bytes; accepted: at most {max_clip_bytes}",
            field="frames",
        )


def decode_clip(
    frames: Frames, asked: ClipRequest, allocate: Allocate, max_clip_bytes: int, turns: Turns
) -> Generator[Any, None, Clip]:
    """Decode every one of ``frames`` into one array from ``allocate(height, width)``, in steps of ``turns``.

    Raises:
        UnreadableError: base64 or an image cannot be read.
        InvalidError: a frame has another size than the request says, or than the other frames.
        TooLargeError: the pixels would take more than ``max_clip_bytes``.
    """
    first = frames[0]
    height, width = asked.size or _size_of_image(first, 0)
    check_clip_bytes(len(frames), height, width, max_clip_bytes)
    decoding = _Decoding(frames, asked, allocate(height, width), first, turns)
    yield from turns.for_each(decoding.write, len(frames))
    return Clip(decoding.pixels, asked.pixel_format if decoding.raw else "BGR")


@dataclass(slots=True)
class _Decoding:
    frames: Frames
    asked: ClipRequest
    pixels: npt.NDArray[np.uint8]
    first: bytes
    turns: Turns

    @property
    def raw(self) -> bool:
        """Whether the frames are raw pixels, which the first frame decides."""
        return self._is_raw(self.first)

    def write(self, index: int) -> None:
        data = self.frames[index] if index else self.first
        if self._is_raw(data):
            self.pixels[index].reshape(-1)[:] = np.frombuffer(data, np.uint8)
        else:
            self._write_image(data, index, self.pixels[index])
        if self._is_raw(data) != self.raw:
            raise InvalidError(f"frames[{index}]: raw and encoded frames are mixed in one clip", field=_field(index))

    def _is_raw(self, data: bytes) -> bool:
        """A frame of exactly the length of raw pixels is raw, whatever it begins with."""
        return self.asked.size is not None and len(data) == self.pixels[0].nbytes

    def _write_image(self, data: bytes, index: int, frame: npt.NDArray[np.uint8]) -> None:
        kind = image_kind(data)
        if kind is None:
            raise _wrong_length(len(data), index, self.asked)
        if (size := _size_of_image(data, index)) != frame.shape[:2]:
            expected = "width and height say" if self.asked.size else "frames[0] is"
            raise InvalidError(
                f"frames[{index}] is {size[1]} x {size[0]} pixels, but {expected} {frame.shape[1]} x {frame.shape[0]}",
                field=_field(index),
            )
        try:
            self.turns.expect(decode_seconds(data, kind, size))
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


def _wrong_length(sent: int, index: int, asked: ClipRequest) -> InvalidError:
    if asked.size is None:
        return InvalidError(f"frames[{index}] is not a JPEG, PNG or WebP image like frames[0]", field=_field(index))
    height, width = asked.size
    return InvalidError(
        f"frames[{index}] holds {sent} bytes, but {width} x {height} pixels in {asked.pixel_format} take"
        f" {height * width * 3}; nor is it a JPEG, PNG or WebP image",
        field=_field(index),
    )


def _field(index: int) -> str:
    return f"frames[{index}]"
