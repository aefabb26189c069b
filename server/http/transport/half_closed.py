"""Finds out whether a client that has closed its sending half still waits for its answer.

TCP reports a client that has left in the same way as one that only sends no more. The difference shows when something
is sent: the system of a client that has left resets the connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

# Most answers are there sooner, and then nothing has to be found out.
_FIRST_LOOK_S = 0.05
_LONGEST_PAUSE_S = 1.0

# RFC 9110, 15.2.1: a client that expects no interim answer discards it.
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


class HalfClosed:
    """Drops the connection when its client has left.

    ``may_write`` says whether an interim answer may be written now; one is written over the life of the connection.
    """

    def __init__(self, transport: asyncio.Transport, may_write: Callable[[], bool]) -> None:
        self._transport = transport
        self._may_write = may_write
        self._written = False
        self._pause_s = _FIRST_LOOK_S
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._pause_s, self._look)

    def stop(self) -> None:
        """The connection is lost."""
        self._timer.cancel()

    def _look(self) -> None:
        if not self._written and self._may_write():
            self._transport.write(INTERIM)
            self._written = True
        # The event loop does not watch a socket from which nothing more can be read.
        if self._transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
            return
        self._timer = self._loop.call_later(self._pause_s, self._look)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
