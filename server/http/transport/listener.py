"""The sockets that clients connect to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from aiohttp import web

from engines.errors import ConfigurationError
from server.clips.tensors.regions import MAX_REGIONS
from server.config.settings import Settings
from server.http.transport.acceptor import Acceptor
from server.http.transport.connection import Connections
from server.http.transport.descriptors import connections_within_limit
from server.serving.service import Service

_BACKLOG = 1024
# Answers that are made but not written yet have so long to be written.
_WRITE_TIMEOUT_S = 1


class Listener:
    """The sockets that accept connections; made by ``listening``."""

    def __init__(self, acceptor: Acceptor, url: str) -> None:
        self._acceptor = acceptor
        self.url = url

    def stop_accepting(self) -> None:
        """Accept no new connections; open ones go on."""
        self._acceptor.close()


@contextlib.asynccontextmanager
async def listening(settings: Settings, connections: Connections) -> AsyncIterator[Listener]:
    """The sockets are open from the start, so that health checks see a service that loads.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    sockets = await _listen(settings)
    listener = Listener(Acceptor(sockets, connections, connections.metrics), _url(sockets[0]))
    try:
        yield listener
    finally:
        listener.stop_accepting()


@contextlib.asynccontextmanager
async def connecting(app: web.Application, service: Service) -> AsyncIterator[Connections]:
    """The factory of connections to ``app``.

    The end of the block closes every connection, so the requests that must be answered are waited for before it.

    Raises:
        ConfigurationError: so few open files are allowed that no client could connect.
    """
    settings = service.settings
    most = connections_within_limit(settings.max_connections, MAX_REGIONS if settings.v2_shared_memory else 0)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_WRITE_TIMEOUT_S)
    await runner.setup()
    if runner.server is None:
        raise RuntimeError("the runner is not set up")
    try:
        yield Connections(runner.server, service.settings, service.metrics, most)
    finally:
        await runner.cleanup()


async def _listen(settings: Settings) -> list[socket.socket]:
    """A socket for each address of the host."""
    try:
        server = await asyncio.get_running_loop().create_server(
            asyncio.Protocol, settings.host, settings.port, start_serving=False
        )
        # The event loop binds the sockets, and keeps its own to itself.
        sockets = [bound.dup() for bound in server.sockets]
        server.close()
        for listening in sockets:
            listening.listen(_BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror})", help="choose another --port"
        ) from None
    return sockets


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
