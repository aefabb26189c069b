"""Reads a request's body: not longer, not slower and not in smaller pieces than is reasonable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from engines.errors import SlowBodyError, TooLargeError, UnreadableError
from server.admission import Holding

# Chunks of a few bytes cost more to take apart than to carry: a megabyte of them a second of the event loop.
_FREE_CHUNKS = 1024
_LEAST_CHUNK_BYTES = 256
# aiohttp's own 256 KiB stop and start the socket several times for each clip: 5 ms of 22 for 16 frames of 240 x 240.
_READ_BYTES = 2 * 2**20


async def read_body(request: web.Request, max_bytes: int, timeout_s: float, holding: Holding) -> bytes:
    """The whole body, decompressed; its bytes are added to ``holding`` as they come.

    Raises:
        TooLargeError: by its announced length, or as soon as it grows so.
        SlowBodyError: it is not there after ``timeout_s``.
        UnreadableError: its chunks or its compression are broken.
        OverloadedError: requests hold too many bytes, or those before it will take all the places.
    """
    check_length(request, max_bytes)
    await _ask_for_body(request)
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            return await _collect(request, max_bytes, holding)
    except TimeoutError:
        if not limit.expired():
            raise
        raise SlowBodyError(f"the body was not there after {timeout_s:g} s") from None
    except (HttpProcessingError, web.RequestPayloadError) as error:
        raise UnreadableError(f"the body cannot be read: {' '.join(str(error).split())[:200]}") from None


def check_length(request: web.Request, max_bytes: int) -> None:
    """Raises TooLargeError by the announced length alone."""
    announced = request.content_length
    if announced is not None and announced > max_bytes:
        raise TooLargeError(f"the body has {announced} bytes; accepted: at most {max_bytes}")


async def no_expectations(request: web.Request) -> None:
    """In place of aiohttp's own answer to ``Expect``, which comes before it is known whether the body is wanted."""


async def _ask_for_body(request: web.Request) -> None:
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _collect(request: web.Request, max_bytes: int, holding: Holding) -> bytes:
    request.content.set_read_chunk_size(_READ_BYTES)
    body = bytearray()
    async for piece in _pieces(request):
        holding.receive(len(piece))
        body += piece
        if len(body) > max_bytes:
            raise TooLargeError(f"the body has more than the accepted {max_bytes} bytes")
    return bytes(body)


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    if "chunked" not in request.headers.get(hdrs.TRANSFER_ENCODING, "").lower():
        while piece := await request.content.readany():
            yield piece
        return
    chunks = size_bytes = 0
    async for piece, ends_chunk in request.content.iter_chunks():
        chunks += ends_chunk
        size_bytes += len(piece)
        if chunks > _FREE_CHUNKS and chunks * _LEAST_CHUNK_BYTES > size_bytes:
            raise UnreadableError(f"the body comes in chunks of less than {_LEAST_CHUNK_BYTES} bytes")
        yield piece
