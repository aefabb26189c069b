"""Reads the rest of a body of known length from the socket into the memory of its reader, past the HTTP parser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence


class DirectBody(asyncio.BufferedProtocol):
    """Takes the place of the connection's own protocol until the memory is full or the reader gives up.

    aiohttp makes an object for each piece of a body, and copies the piece twice, which costs more than everything else
    that is done with a clip of a few MB.

    Invariant: ``_rest`` is the memory that is still to be filled, the next part last and no part empty, and None from
    the moment when the transport has its own protocol again.
    """

    def __init__(
        self,
        protocol: asyncio.Protocol,
        transport: asyncio.Transport,
        rest: Sequence[memoryview],
        arrived: Callable[[int], None],
        completed: Callable[[], None],
    ) -> None:
        """The parts of ``rest`` receive the bytes, one after the other.

        ``arrived`` gets the length of each piece, and may raise to refuse it.
        ``completed`` is called before ``protocol`` gets the bytes that follow the body.
        """
        self._protocol = protocol
        self._transport = transport
        self._rest: list[memoryview] | None = [part for part in reversed(rest) if part]
        self._arrived = arrived
        self._completed = completed
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def received(self) -> None:
        """Return when ``rest`` is full, or raise what ``arrived`` raises; the transport has its own protocol then."""
        self._transport.set_protocol(self)
        try:
            await self._done
        finally:
            self._detach()
            # The future holds the error, whose traceback holds this object.
            del self._done

    def get_buffer(self, sizehint: int) -> memoryview:
        # asyncio refuses an empty buffer; this one is asked for only between the end and the exchange of the protocol.
        return self._rest[-1] if self._rest else memoryview(bytearray(1))

    def buffer_updated(self, nbytes: int) -> None:
        if self._rest is None:
            return
        self._rest[-1] = self._rest[-1][nbytes:]
        if not self._rest[-1]:
            self._rest.pop()
        try:
            self._arrived(nbytes)
        except Exception as error:
            self._end(error)
            return
        if not self._rest:
            self._completed()
            self._end(None)

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)
        self._end(exc or ConnectionResetError("the connection was lost"))

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def _end(self, error: Exception | None) -> None:
        if self._rest is None:
            return
        self._detach()
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)

    def _detach(self) -> None:
        if self._rest is None:
            return
        self._rest = None
        if not self._transport.is_closing():
            self._transport.set_protocol(self._protocol)
