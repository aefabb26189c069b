"""Messages over a socket between two processes of one machine, each with its length before it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, cast

import msgspec

from server.http_workers.messages import Message

_LENGTH_BYTES = 4
_ALONG_S = 0.05


class Channel(asyncio.Protocol):
    """One end; ``send`` never waits, and what is sent in one turn of the event loop travels together."""

    def __init__(self, kinds: UnionType, receive: Callable[[Any], None], ended: Callable[[], None]) -> None:
        """``receive`` is called for each message, which is one of ``kinds``; ``ended`` once, after the last."""
        self._decoder = msgspec.msgpack.Decoder(kinds, dec_hook=_decode_path)
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_encode_path)
        self._receive = receive
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._in = bytearray()
        self._out = bytearray()
        self._leaving = False

    async def connect(self, end: socket.socket) -> None:
        """Over ``end`` of a pair of sockets, which then belongs to the channel."""
        end.setblocking(False)
        await self._loop.create_unix_connection(lambda: self, sock=end)

    def send(self, message: Message) -> None:
        """To the other end, or to nobody when there is none any more."""
        self._put(message)
        if not self._leaving:
            self._leaving = True
            self._loop.call_soon(self._flush)

    def send_along(self, message: Message) -> None:
        """With the next that is sent, or soon."""
        if not self._out:
            self._loop.call_later(_ALONG_S, self._flush)
        self._put(message)

    def close(self) -> None:
        """What is not yet sent is sent."""
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._in += data
        for packed in self._taken():
            self._receive(self._decoder.decode(packed))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._ended()

    def _taken(self) -> Iterator[bytes]:
        """The whole messages that have come, each only once."""
        while len(self._in) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(self._in[:_LENGTH_BYTES])
            if len(self._in) < end:
                return
            packed = bytes(self._in[_LENGTH_BYTES:end])
            del self._in[:end]
            yield packed

    def _put(self, message: Message) -> None:
        packed = self._encoder.encode(message)
        self._out += len(packed).to_bytes(_LENGTH_BYTES) + packed

    def _flush(self) -> None:
        self._leaving = False
        if self._out and self._transport is not None:
            self._transport.write(bytes(self._out))
        self._out.clear()


def _encode_path(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError


def _decode_path(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value))
    raise NotImplementedError
