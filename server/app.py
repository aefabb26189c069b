"""The aiohttp application and the process around it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator

from aiohttp import web

from engines.errors import ConfigurationError
from server.handlers import SERVICE, routes
from server.middleware import account
from server.service import Service
from server.settings import Settings

_log = logging.getLogger(__name__)


def make_app(service: Service) -> web.Application:
    """Routes and middleware around ``service``, whose life is the caller's."""
    app = web.Application(middlewares=[account], client_max_size=service.settings.max_body_bytes)
    app[SERVICE] = service
    app.add_routes(routes)
    return app


async def serve(settings: Settings) -> None:
    """Listen, load, serve until SIGTERM or SIGINT, then finish what was accepted.

    Raises:
        ConfigurationError: the address cannot be listened on.
        BundleError, EngineError: the bundle cannot be served.
    """
    service = Service(settings)
    stop = _stop_event()
    async with _listening(service) as runner:
        _log.debug("listening", extra={"url": _url(runner)})
        await _serve_until(stop, service, runner)
    _log.info("stopped")


async def _serve_until(stop: asyncio.Event, service: Service, runner: web.AppRunner) -> None:
    async with service.running():
        _log.info("ready", extra={"url": _url(runner)})
        await stop.wait()
        _log.info("draining")
        for site in list(runner.sites):
            await site.stop()
        # Before the runner's own cleanup, which drops the rest of bodies that are still on their way.
        await service.drain()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def _listening(service: Service) -> AsyncIterator[web.AppRunner]:
    """The socket is open from the start, so that health checks see a service that loads instead of none."""
    settings = service.settings
    runner = web.AppRunner(
        make_app(service), handler_cancellation=True, access_log=None, shutdown_timeout=settings.drain_timeout_s
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror})", help="choose another --port"
            ) from None
        yield runner
    finally:
        await runner.cleanup()


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _url(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
