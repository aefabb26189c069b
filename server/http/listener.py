"""The socket that clients connect to, and the limits of the system on it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from engines.errors import ConfigurationError
from server.config.settings import Settings
from server.http.connection import Connections
from server.serving.service import Service

_log = logging.getLogger(__name__)

_BACKLOG = 1024
# Answers that are made but not written yet have so long to be written.
_WRITE_TIMEOUT_S = 1
# Descriptors that belong to no client: bundle, logs, event loop, a scrape.
_OTHER_DESCRIPTORS = 64


class Listener:
    """A socket that accepts connections; made by ``listening``."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def stop_accepting(self) -> None:
        """Accept no new connections; open ones go on."""
        self._server.close()


@contextlib.asynccontextmanager
async def listening(settings: Settings, connections: Callable[[], asyncio.Protocol]) -> AsyncIterator[Listener]:
    """The socket is open from the start, so that health checks see a service that loads.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    listener = Listener(await _listen(settings, connections))
    try:
        yield listener
    finally:
        listener.stop_accepting()


@contextlib.asynccontextmanager
async def connecting(app: web.Application, service: Service) -> AsyncIterator[Connections]:
    """The factory of connections to ``app``.

    The end of the block closes every connection, so the requests that must be answered are waited for before it.
    """
    settings = service.settings
    _raise_descriptor_limit(settings.max_connections)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=_WRITE_TIMEOUT_S)
    await runner.setup()
    if runner.server is None:
        raise RuntimeError("the runner is not set up")
    try:
        yield Connections(runner.server, settings, service.metrics)
    finally:
        await runner.cleanup()


async def _listen(settings: Settings, connections: Callable[[], asyncio.Protocol]) -> asyncio.Server:
    try:
        return await asyncio.get_running_loop().create_server(
            connections, settings.host, settings.port, backlog=_BACKLOG
        )
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror})", help="choose another --port"
        ) from None


def _raise_descriptor_limit(connections: int) -> None:
    """Most systems allow 1024 descriptors by default, and more when a process asks for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        _log.warning("fewer file descriptors than --max-connections", extra={"allowed": allowed})
