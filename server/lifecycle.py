"""The process from its first to its last breath."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from server.api.app import make_app
from server.config.settings import Settings
from server.http.listener import Listener, connecting, listening
from server.limits.admission import Admission
from server.limits.throughput import Throughput
from server.serving.bundle_watch import reload_on_demand, watch_bundle
from server.serving.deployment import LoadEngine, load_bundle
from server.serving.loader import Loader
from server.serving.service import Service, State
from server.signals import Signals
from server.telemetry.metrics import Metrics

T = TypeVar("T")
_log = logging.getLogger(__name__)


async def serve(settings: Settings, load: LoadEngine = load_bundle) -> None:
    """Listen, load, serve until SIGTERM or SIGINT, then finish what was accepted.

    Raises:
        ConfigurationError: the address cannot be listened on, or a file that was named not be used.
        BundleError, EngineError: the bundle cannot be served.
        EngineLostError: the engine was, but is of no use any more.
    """
    signals = Signals()
    async with _listening(settings, load) as front:
        _log.debug("listening", extra={"url": front.listener.url})
        if await _started(front, signals):
            _log.info("ready", extra={"url": front.listener.url})
            await _serve_until_stopped(front, signals)
    _log.info("stopped")


@dataclass(frozen=True)
class _Front:
    """The service, what loads its engine, and the socket that its clients connect to."""

    service: Service
    loader: Loader
    listener: Listener


@contextlib.asynccontextmanager
async def _listening(settings: Settings, load: LoadEngine) -> AsyncIterator[_Front]:
    metrics, throughput = Metrics(state.value for state in State), Throughput()
    service = Service(settings, metrics, Admission(settings.queue_size, settings.max_inflight_bytes, throughput))
    loader = Loader(service, load, throughput, metrics)
    try:
        async with (
            connecting(make_app(service), service) as connections,
            listening(settings, connections) as listener,
        ):
            yield _Front(service, loader, listener)
    finally:
        await service.close()


async def _started(front: _Front, signals: Signals) -> bool:
    """Whether the engine was loaded before the stop."""
    async with _task(front.loader.start()) as start, _task(signals.stop.wait()) as stop:
        await asyncio.wait([start, stop], return_when=asyncio.FIRST_COMPLETED)
        if start.done():
            start.result()
        return start.done()


async def _serve_until_stopped(front: _Front, signals: Signals) -> None:
    service, settings = front.service, front.service.settings
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(_task(reload_on_demand(front.loader, signals.reload)))
        if settings.bundle_poll_s:
            await stack.enter_async_context(
                _task(watch_bundle(settings.bundle, settings.bundle_poll_s, signals.reload))
            )
        async with _task(signals.stop.wait()) as stop:
            waits: list[asyncio.Future[Any]] = [stop, service.lost]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    if not service.lost.done():
        await _drain(front, signals)
    if service.lost.done():
        _log.error("the engine is lost", extra={"error": str(service.lost.result())})
        await service.drain()
        front.listener.stop_accepting()
        raise service.lost.result()


async def _drain(front: _Front, signals: Signals) -> None:
    service = front.service
    accepting = service.settings.drain_delay_s > 0 and not signals.in_haste
    service.start_draining(accepting=accepting)
    _log.info("draining")
    if accepting:
        await asyncio.wait([service.lost], timeout=service.settings.drain_delay_s)
    front.listener.stop_accepting()
    # Before the connections are closed, which drops the rest of bodies that are still on their way.
    await service.drain()


@contextlib.asynccontextmanager
async def _task(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Runs beside the block and is cancelled at its end."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
