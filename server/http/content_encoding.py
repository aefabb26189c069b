"""Compressed bodies: inflated off the event loop, with bounds on their size and on their ratio."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from server.errors import TooLargeError, UnreadableError, UnsupportedMediaError, shown

IDENTITY = "identity"
ACCEPTED = (IDENTITY, "gzip", "deflate")

_PIECE_BYTES = 2**20
# Pixels of a camera shrink to a tenth at best; a body that shrinks further is made to cost the service time.
_MAX_RATIO = 100
# zlib tells gzip and zlib headers apart by itself; some clients send deflate without any header.
_ANY_HEADER, _NO_HEADER = 47, -15
_ZLIB_METHOD = 8


def check_content_encoding(encoding: str) -> None:
    """Raises UnsupportedMediaError for an encoding that is not in ``ACCEPTED``."""
    if encoding.lower() not in ACCEPTED:
        raise UnsupportedMediaError(
            f"Content-Encoding is {shown(encoding)}; accepted: {', '.join(ACCEPTED)}", field="Content-Encoding"
        )


def inflate(body: bytearray, encoding: str, max_bytes: int, hold: Callable[[int], None]) -> bytearray:
    """``body`` without its compression; ``hold`` is called with the number of bytes that are added.

    Raises:
        UnreadableError: the compression is broken or cut off, or data follows its end.
        TooLargeError: it has more than ``max_bytes``, or is more than a hundred times as long as ``body``.
    """
    headless = encoding.lower() == "deflate" and body[:1] and body[0] & 0xF != _ZLIB_METHOD
    inflater = zlib.decompressobj(_NO_HEADER if headless else _ANY_HEADER)
    inflated, rest = bytearray(), bytes(body)
    most_bytes = min(max_bytes, max(_PIECE_BYTES, _MAX_RATIO * len(body)))
    try:
        while not inflater.eof and (piece := inflater.decompress(rest, _PIECE_BYTES)):
            rest = inflater.unconsumed_tail
            hold(len(piece))
            inflated += piece
            if len(inflated) > most_bytes:
                raise TooLargeError(_too_large(len(body), max_bytes))
    except zlib.error as error:
        raise UnreadableError(f"the body is not {encoding}: {error}", field="Content-Encoding") from None
    if not inflater.eof or inflater.unused_data:
        reason = "it ends too early" if not inflater.eof else "data follows its end"
        raise UnreadableError(f"the body is not {encoding}: {reason}", field="Content-Encoding")
    return inflated


def _too_large(compressed_bytes: int, max_bytes: int) -> str:
    return (
        f"the body of {compressed_bytes} compressed bytes has more than {_MAX_RATIO} times as many, or than the"
        f" accepted {max_bytes}"
    )
