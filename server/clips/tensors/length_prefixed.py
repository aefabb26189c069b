"""The binary form of a BYTES tensor: each element is its length in 4 bytes, little-endian, and then its bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from server.clips.tensors.frames_tensor import FRAMES
from server.errors import InvalidError

_LENGTH = struct.Struct("<I")


class Elements:
    """The elements of one clip in a tensor; each is copied out when it is asked for, in any thread."""

    def __init__(self, tensor: memoryview, places: Sequence[slice]) -> None:
        self._tensor = tensor
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> bytes:
        return bytes(self._tensor[self._places[index]])


def split_elements(tensor: memoryview, clips: int, frames: int) -> list[Elements]:
    """The elements of each clip; raises InvalidError unless their lengths add up to the tensor."""
    places, at = [], 0
    for index in range(clips * frames):
        if len(tensor) - at < _LENGTH.size:
            raise _wrong(index, f"is missing: the tensor ends after {len(tensor)} bytes")
        (length,) = _LENGTH.unpack_from(tensor, at)
        at += _LENGTH.size
        if length > len(tensor) - at:
            raise _wrong(index, f"has {length} bytes by its length, but only {len(tensor) - at} follow")
        places.append(slice(at, at + length))
        at += length
    if at < len(tensor):
        raise InvalidError(f"{len(tensor) - at} bytes follow the last element of frames", field=FRAMES)
    return [Elements(tensor, places[at : at + frames]) for at in range(0, len(places), frames)]


def _wrong(index: int, reason: str) -> InvalidError:
    return InvalidError(f"element {index} of frames {reason}", field=FRAMES)
