"""The chunks of a PNG that hold its pixels, without all others."""

from __future__ import annotations

import struct
import zlib

_SIGNATURE_BYTES = 8
_HEADER = struct.Struct(">I4s")
_CHECKSUM_BYTES = 4
_END = b"\0\0\0\0IEND\xae\x42\x60\x82"


def only_pixels(data: bytes) -> bytes:
    """``data`` with its header, its palette, and the compressed pixels as one chunk.

    What is left out (texts, colour profiles, frames of an animation, transparency, a second header) costs a decoder
    time and memory that do not follow from the number of pixels, and changes no colour. Chunks are not checked.
    """
    kept, pixels = [data[:_SIGNATURE_BYTES]], []
    at = _SIGNATURE_BYTES
    while at + _HEADER.size <= len(data):
        length, name = _HEADER.unpack_from(data, at)
        end = at + _HEADER.size + length + _CHECKSUM_BYTES
        if name == b"IDAT":
            pixels.append(data[at + _HEADER.size : end - _CHECKSUM_BYTES])
        elif pixels:
            break
        elif name == b"PLTE" or (name == b"IHDR" and len(kept) == 1):
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, _chunk(b"IDAT", b"".join(pixels)), _END])


def _chunk(name: bytes, content: bytes) -> bytes:
    return _HEADER.pack(len(content), name) + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))
