"""Reads the body of a request, with limits on its length, on its time and on the number of its chunks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, cast

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from server.clips.decode_threads import DecodeThreads
from server.clips.lease import Lease
from server.clips.upload import NewMemory, PartsFor
from server.errors import SlowBodyError, TooLargeError, UnreadableError, UnsupportedMediaError
from server.http.content_encoding import IDENTITY, check_content_encoding, inflate
from server.http.transport.connection import Connection
from server.http.transport.half_closed import INTERIM
from server.limits.admission import SOON_BYTES, RequestMemory
from server.serving.deadline import limited

# A megabyte in chunks of a few bytes keeps the event loop busy for a second.
_FREE_CHUNKS = 1024
_LEAST_CHUNK_BYTES = 256
# With aiohttp's default of 256 KiB the socket is paused several times for each clip of unknown length.
_READ_BYTES = 2 * 2**20


@dataclass(frozen=True, slots=True)
class RequestBody:
    """The body of a request, an ``Upload``; its bytes are added to ``memory`` as they arrive.

    Memory for the body is allocated when 64 KiB of it have arrived, or all of it, so that a client that sends nothing
    gets none.
    """

    request: web.Request
    max_bytes: int
    timeout_s: float
    memory: RequestMemory
    lease: Lease
    threads: DecodeThreads

    @property
    def content_type(self) -> str:
        return self.request.headers.get(hdrs.CONTENT_TYPE, "")

    @property
    def query(self) -> Iterable[tuple[str, str]]:
        return self.request.query.items()

    @property
    def announced_bytes(self) -> int:
        return self.request.content_length or 0

    @property
    def length(self) -> int | None:
        """The length in bytes by the header; None for a body in chunks or compressed."""
        return None if self._compressed else self._sent_length

    @property
    def _sent_length(self) -> int | None:
        """The length as sent, compressed or not; None for a body in chunks."""
        return None if hdrs.TRANSFER_ENCODING in self.request.headers else self.request.content_length or 0

    @property
    def _encoding(self) -> str:
        return self.request.headers.get(hdrs.CONTENT_ENCODING, IDENTITY)

    @property
    def _compressed(self) -> bool:
        return self._encoding.lower() != IDENTITY

    def check_length(self) -> None:
        """Raises TooLargeError when the announced length is too large."""
        announced = self.request.content_length
        if announced is not None and announced > self.max_bytes:
            raise TooLargeError(f"the body has {announced} bytes; accepted: at most {self.max_bytes}")

    async def read(self) -> bytearray:
        """The whole body, decompressed.

        Raises:
            TooLargeError: its announced length is too large, or it has grown too large.
            SlowBodyError: it has not arrived after ``timeout_s``.
            UnreadableError: its chunks or its compression are broken.
            OverloadedError: requests hold too many bytes, or the bodies before it will take all slots.
        """
        async with self._in_time():
            if (length := self._sent_length) is None:
                body = await self._collected()
            else:
                body = cast(bytearray, (await self._received(length, _new_memory)).obj)
            return await self._inflated(body) if self._compressed else body

    async def read_into(self, size_bytes: int, new_memory: NewMemory) -> int:
        """Write the body into ``new_memory(size_bytes)`` and return its length; raises as ``read`` does.

        ``size_bytes`` equals ``length`` where that is known. Of a longer body only the beginning is written.
        """
        async with self._in_time():
            if self._compressed:
                body = await self._inflated(await self._collected())
                new_memory(size_bytes)[: len(body)] = body[:size_bytes]
                return len(body)
            if self.length is None:
                return await self._written(size_bytes, new_memory)
            return len(await self._received(size_bytes, new_memory))

    async def write_to(self, file: BinaryIO) -> None:
        """Write the body into ``file``, so that only a piece of it is in memory; raises as ``read`` does.

        Raises:
            UnsupportedMediaError: it is compressed.
        """
        if self._compressed:
            raise UnsupportedMediaError("this body is not accepted compressed", field="Content-Encoding")
        async with self._in_time():
            async for piece in self._pieces():
                await asyncio.to_thread(file.write, piece)
                self.memory.drop(len(piece))

    async def read_parts(self, head_bytes: int, parts_for: PartsFor) -> None:
        """Give the first ``head_bytes`` to ``parts_for``, and write the rest into its parts; raises as ``read``."""
        length = self.length
        if length is None:
            raise RuntimeError("the length of the body is not known")
        async with self._in_time():
            await self._scattered(length, head_bytes, parts_for)

    async def _received(self, length: int, new_memory: NewMemory) -> memoryview:
        """A body of that length in one piece."""
        made: list[memoryview] = []

        def whole(_: bytes) -> Sequence[memoryview]:
            made.append(new_memory(length))
            return made

        await self._scattered(length, 0, whole)
        return made[0]

    async def _scattered(self, length: int, head_bytes: int, parts_for: PartsFor) -> None:
        """A body of that length: its beginning from aiohttp's parser, the rest straight from the socket."""
        content = self.request.content
        early = bytearray()
        while len(early) < min(length, max(SOON_BYTES, head_bytes)) and (piece := await content.readany()):
            self.memory.receive(len(piece))
            early += piece
        rest = _written(parts_for(bytes(early[:head_bytes])), memoryview(early)[head_bytes:])
        while piece := content.read_nowait():
            self.memory.receive(len(piece))
            rest = _written(rest, memoryview(piece))
        if rest:
            connection = cast(Connection, self.request.protocol)
            await connection.receive(self.request, rest, self.memory.receive)

    async def _collected(self) -> bytearray:
        body = bytearray()
        async for piece in self._pieces():
            body += piece
        return body

    async def _inflated(self, body: bytearray) -> bytearray:
        arguments = (body, self._encoding, self.max_bytes, self.memory.add)
        inflated = await self.threads.run(inflate, *arguments, lease=self.lease)
        self.memory.drop(len(body))
        return inflated

    async def _written(self, size_bytes: int, new_memory: NewMemory) -> int:
        memory, count = None, 0
        async for piece in self._pieces():
            memory = new_memory(size_bytes) if memory is None else memory
            kept = piece[: max(0, size_bytes - count)]
            memory[count : count + len(kept)] = kept
            count += len(piece)
        return count

    async def _pieces(self) -> AsyncGenerator[bytes | bytearray]:
        """The pieces of a body of unknown length; the first one is large enough that memory is allocated for it."""
        early: bytearray | None = bytearray()
        count = 0
        async for piece in self._chunks():
            count += len(piece)
            if count > self.max_bytes:
                raise TooLargeError(f"the body has more than the accepted {self.max_bytes} bytes")
            self.memory.receive(len(piece))
            if early is None:
                yield piece
                continue
            early += piece
            if count >= SOON_BYTES:
                yield early
                early = None
        if early:
            yield early

    async def _chunks(self) -> AsyncGenerator[bytes]:
        content = self.request.content
        content.set_read_chunk_size(_READ_BYTES)
        if "chunked" not in self.request.headers.get(hdrs.TRANSFER_ENCODING, "").lower():
            while piece := await content.readany():
                yield piece
            return
        chunks = size_bytes = 0
        async for piece, ends_chunk in content.iter_chunks():
            chunks += ends_chunk
            size_bytes += len(piece)
            if chunks > _FREE_CHUNKS and chunks * _LEAST_CHUNK_BYTES > size_bytes:
                raise UnreadableError(f"the body comes in chunks of less than {_LEAST_CHUNK_BYTES} bytes")
            yield piece

    @contextlib.asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        self.check_length()
        check_content_encoding(self._encoding)
        self._ask_for_body()
        late = SlowBodyError(f"the body was not there after {self.timeout_s:g} s")
        try:
            with self.memory.reading():
                async with limited(asyncio.timeout(self.timeout_s), late):
                    yield
        except (HttpProcessingError, web.RequestPayloadError, ConnectionError) as error:
            raise UnreadableError(f"the body cannot be read: {' '.join(str(error).split())[:200]}") from None

    def _ask_for_body(self) -> None:
        # Clients of HTTP/1.0 know no interim answers (RFC 9110, 10.1.1).
        expected = self.request.version == HttpVersion11 and self.request.headers.get(hdrs.EXPECT, "").lower()
        if expected == "100-continue" and self.request.transport is not None:
            self.request.transport.write(INTERIM)


async def no_expectations(request: web.Request) -> None:
    """Do nothing, because ``RequestBody`` answers ``Expect`` when the body is wanted; aiohttp would do so before."""


def _new_memory(size_bytes: int) -> memoryview:
    return memoryview(bytearray(size_bytes))


def _written(parts: Sequence[memoryview], data: memoryview) -> list[memoryview]:
    """Write ``data`` into the beginning of ``parts``, and return what is left of them."""
    left = []
    for part in parts:
        count = min(len(part), len(data))
        part[:count] = data[:count]
        data = data[count:]
        if count < len(part):
            left.append(part[count:])
    return left
