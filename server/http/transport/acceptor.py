"""Accepts connections; when the process can open no more files, each new connection is refused with 503.

asyncio's own accepting leaves such connections unanswered, and logs the error up to a thousand times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence
from http import HTTPStatus

from server.http.problem import raw_problem
from server.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

# Connections that are accepted before others get their turn, and before refused ones give their descriptors back.
_AT_ONCE = 32
_READ_BYTES = 64 * 2**10
_RETRY_S = 1
_LOG_EVERY_S = 10


class Acceptor:
    """Gives each accepted connection to a protocol of ``connections``.

    Invariant: ``_spare`` is an open descriptor that is closed only for the moment of a refusal; -1 if the system had
    none left to open it again.
    """

    def __init__(
        self, sockets: Sequence[socket.socket], connections: Callable[[], asyncio.Protocol], metrics: Metrics
    ) -> None:
        """``sockets`` listen and do not block; ``close`` closes them."""
        self._sockets = sockets
        self._connections = connections
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._accepted: set[asyncio.Task[None]] = set()
        self._spare = _open_spare()
        self._log_after_s = 0.0
        for listening in sockets:
            self._loop.add_reader(listening, self._accept, listening)

    def close(self) -> None:
        """Accept no more connections; those that were accepted go on."""
        for listening in self._sockets:
            if listening.fileno() >= 0:
                self._loop.remove_reader(listening)
                listening.close()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                connected, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if not (error.errno in (errno.EMFILE, errno.ENFILE) and self._refuse(listening)):
                    self._pause(listening, error)
                return
            task = self._loop.create_task(self._connect(connected))
            self._accepted.add(task)
            task.add_done_callback(self._accepted.discard)

    async def _connect(self, connected: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._connections, connected)
        except OSError as error:
            _log.debug("a connection was lost at once", extra={"error": str(error)})
            connected.close()

    def _refuse(self, listening: socket.socket) -> bool:
        """Answer one client over the spare descriptor; False if there is none or it could not be used."""
        if self._spare < 0:
            self._spare = _open_spare()
            return False
        os.close(self._spare)
        try:
            connected, _ = listening.accept()
            with connected, contextlib.suppress(OSError):
                connected.setblocking(False)
                connected.send(raw_problem(HTTPStatus.SERVICE_UNAVAILABLE, "the service can open no more connections"))
                connected.shutdown(socket.SHUT_WR)
                # A close with unread data would take the answer away from the client.
                connected.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return True
        except OSError:
            return False
        finally:
            self._spare = _open_spare()
        self._metrics.closed("no_descriptor")
        self._log_sometimes("no file descriptor is left, so new connections get 503")
        return True

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Wait, because the system reports the socket as ready for as long as a connection waits in it."""
        self._log_sometimes(f"connections cannot be accepted: {error.strerror}")
        self._loop.remove_reader(listening)
        self._loop.call_later(_RETRY_S, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            self._loop.add_reader(listening, self._accept, listening)

    def _log_sometimes(self, message: str) -> None:
        now_s = self._loop.time()
        if now_s >= self._log_after_s:
            self._log_after_s = now_s + _LOG_EVERY_S
            _log.error(message)


def _open_spare() -> int:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
