"""The rest of a body whose length is known: from the socket into its reader's memory, past the HTTP parser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class DirectBody(asyncio.BufferedProtocol):
    """Stands in for a connection's own protocol until the memory is full or the reader gives up.

    aiohttp's way of a body is a new object for each piece of it, a copy by its parser and one more by the reader: for
    a clip of a few MB that costs more than all that is done with it.
    """

    def __init__(
        self,
        protocol: asyncio.Protocol,
        transport: asyncio.Transport,
        rest: memoryview,
        arrived: Callable[[int], None],
        completed: Callable[[], None],
    ) -> None:
        """``rest``: where the bytes go; ``arrived`` is told of each piece's length, and may refuse it by raising.

        ``completed`` is called before ``protocol`` sees what follows the body.
        """
        self._protocol = protocol
        self._transport = transport
        self._rest: memoryview | None = rest
        self._arrived = arrived
        self._completed = completed
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def received(self) -> None:
        """Until ``rest`` is full; raises what ``arrived`` does. The transport is the protocol's again in any case."""
        self._transport.set_protocol(self)
        try:
            await self._done
        finally:
            self._detach()
            # It holds the error, whose traceback holds this.
            del self._done

    def get_buffer(self, sizehint: int) -> memoryview:
        # Never empty: the protocol is another's as soon as nothing more is wanted.
        return memoryview(bytearray(1)) if self._rest is None else self._rest

    def buffer_updated(self, nbytes: int) -> None:
        if self._rest is None:
            return
        self._rest = self._rest[nbytes:]
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
