"""The life of the process: listen, load, serve, drain and stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from server.api.app import make_app
from server.config.settings import Settings
from server.http.transport.listener import Listener, connecting, listening
from server.limits.admission import Admission
from server.serving.bundle_watch import Demands, demand_all, reload_on_demand, watch_bundles
from server.serving.deployment import LoadEngine, load_bundle
from server.serving.loader import Loader
from server.serving.models.gauges import watch_service
from server.serving.service import Service, State
from server.telemetry.metrics import Metrics

T = TypeVar("T")
_log = logging.getLogger(__name__)


async def serve(settings: Settings, load: LoadEngine = load_bundle) -> None:
    """Listen, load, serve until SIGTERM or SIGINT, then finish the accepted requests.

    Raises:
        ConfigurationError: the service cannot listen on the address, or a file in the settings cannot be used.
        BundleError, EngineError: the bundle cannot be served.
        EngineLostError: the engine got lost while it served.
    """
    signals = Signals()
    async with _listening(settings, load) as front, _watching(front, signals):
        _log.debug("listening", extra={"url": front.listener.url})
        async with _watching_heads(front.service):
            if await _started(front, signals):
                _log.info("ready", extra={"url": front.listener.url})
                await _serve_until_stopped(front, signals)
    _log.info("stopped")


class Signals:
    """The signals of the operating system as events, set in the event loop.

    ``stop``: SIGTERM or SIGINT came; a second one ends the process at once. ``in_haste``: it was SIGINT.
    ``reload``: SIGHUP came.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()
        self.in_haste = False
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop, number)
        self._loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    def _stop(self, number: signal.Signals) -> None:
        # The default action of the system ends the process even if the event loop is blocked.
        for each in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        # SIGINT comes from a person at a terminal, who waits for no load balancer.
        self.in_haste = number is signal.SIGINT
        self.stop.set()


@dataclass(frozen=True)
class _Front:
    """The service, the loader of its models and what it is to reload, and the socket to which clients connect."""

    service: Service
    loader: Loader
    listener: Listener
    demands: Demands


@contextlib.asynccontextmanager
async def _listening(settings: Settings, load: LoadEngine) -> AsyncIterator[_Front]:
    metrics = Metrics(state.value for state in State)
    service = Service(settings, metrics, Admission(settings.queue_size, settings.max_inflight_bytes))
    watch_service(metrics, service.admission, service.decode_threads, service.heads)
    loader = Loader(service, load)
    try:
        async with (
            connecting(make_app(service, loader), service) as connections,
            listening(settings, connections) as listener,
        ):
            yield _Front(service, loader, listener, Demands())
    finally:
        await service.close()


@contextlib.asynccontextmanager
async def _watching(front: _Front, signals: Signals) -> AsyncIterator[None]:
    """Demand reloads on SIGHUP and when bundles change."""
    models, every_s = front.service.models, front.service.settings.bundle_poll_s
    async with contextlib.AsyncExitStack() as tasks:
        await tasks.enter_async_context(_task(demand_all(models, signals.reload, front.demands)))
        if every_s:
            await tasks.enter_async_context(_task(watch_bundles(models, every_s, front.demands)))
        yield


@contextlib.asynccontextmanager
async def _watching_heads(service: Service) -> AsyncIterator[None]:
    """Load the heads, and watch them from then on."""
    await service.heads.load()
    if not service.settings.bundle_poll_s:
        yield
        return
    async with _task(service.heads.watch(service.settings.bundle_poll_s)):
        yield


async def _started(front: _Front, signals: Signals) -> bool:
    """Load; return False if the stop came first. Raises what the loader raises."""
    async with _task(front.loader.start()) as start, _task(signals.stop.wait()) as stop:
        await asyncio.wait([start, stop], return_when=asyncio.FIRST_COMPLETED)
        if start.done():
            start.result()
        return start.done()


async def _serve_until_stopped(front: _Front, signals: Signals) -> None:
    service = front.service
    async with _task(reload_on_demand(front.loader, front.demands)), _task(signals.stop.wait()) as stop:
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
    # Drain before the connections are closed, because closing drops the bodies that are still being received.
    await service.drain()


@contextlib.asynccontextmanager
async def _task(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Run ``work`` as a task during the block, and cancel it at the end of the block."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
