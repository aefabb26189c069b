"""The HTTP side in several processes; this one, which the user started, has the engine and looks after them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from engines.engine import Engine
from engines.options import EngineOptions
from server.admission import Admission
from server.deployment import Deployment, LoadEngine
from server.front import Front
from server.http_workers.handover import Handover
from server.http_workers.messages import Drain, Draining, Lost, Stop
from server.http_workers.process_metrics import WorkerCollector
from server.http_workers.segment import Segment
from server.http_workers.worker import Worker
from server.http_workers.worker_link import WorkerLink
from server.http_workers.workers import Workers
from server.ledger import SharedLedger
from server.listener import Listener, listening
from server.loader import Loader
from server.metrics import Metrics
from server.rate_limit import RateLimit
from server.service import Service, State
from server.service_rate import ServiceRate
from server.settings import Settings

# The column of the shared ledger that no worker has.
_ENGINE_PROCESS = 0
# Of the shared memory beyond what clips may take: places are whole granules, and leave gaps.
_SPARE = 1 / 8
# For workers to say that they have understood; their own limits run out before this one.
_PATIENCE_S = 2


class FrontInWorkers:
    """The engine's own process."""

    def __init__(self, settings: Settings, load: LoadEngine, metrics: Metrics) -> None:
        segment = Segment.created(int(settings.max_inflight_bytes * (1 + _SPARE)))
        rate = ServiceRate(segment.rate)
        ledger = SharedLedger(segment.figures, _ENGINE_PROCESS)
        admission = Admission(settings.queue_size, settings.max_inflight_bytes, rate, ledger)
        limit = RateLimit(settings.rate_limit) if settings.rate_limit else None
        self.service = Service(settings, metrics, admission)
        self.loader = Loader(self.service, _sharing(load, segment), rate, metrics, self._announce)
        self.workers = Workers(settings, segment, metrics, lambda: WorkerLink(segment, metrics, limit), self._introduce)
        self.handover = Handover(lambda: self.workers.ready, settings.max_connections, metrics)
        self.listener: Listener | None = None
        metrics.registry.register(WorkerCollector(lambda: self.workers.alive))

    @property
    def url(self) -> str:
        return self.listener.url if self.listener else ""

    async def tell_state(self) -> None:
        # One that is stuck holds up nobody for long.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await asyncio.gather(*(self._tell_state(worker) for worker in self.workers.alive))

    def stop_accepting(self) -> None:
        if self.listener:
            self.listener.stop_accepting()

    async def drain(self) -> None:
        self.workers.replace_no_more()
        links = [worker.link for worker in self.workers.alive]
        for link in links:
            link.send(Drain())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.service.drain_timeout_s + _PATIENCE_S):
                for link in links:
                    await link.drained.wait()

    async def close(self) -> None:
        """End the workers, and then the engine that nobody uses any more."""
        for worker in self.workers.alive:
            worker.link.send(Stop())
        await self.workers.wait()
        self.handover.close()
        await self.service.drain()
        await self.service.close()

    async def _announce(self, deployment: Deployment) -> None:
        await asyncio.gather(*(self._announce_to(worker, deployment) for worker in self.workers.alive))

    async def _announce_to(self, worker: Worker, deployment: Deployment) -> None:
        try:
            async with asyncio.timeout(self.service.settings.http_worker_timeout_s):
                await worker.link.announce(deployment)
        except TimeoutError:
            # It would serve with the old engine for ever.
            worker.kill()

    async def _introduce(self, worker: Worker) -> None:
        await self._tell_state(worker)
        if self.service.deployment is not None:
            await self._announce_to(worker, self.service.deployment)
        asyncio.get_running_loop().call_soon(self.handover.serve_waiting)

    async def _tell_state(self, worker: Worker) -> None:
        if self.service.state is State.DRAINING:
            await worker.link.tell(Draining(self.service.accepting))
        elif self.service.lost.done():
            await worker.link.tell(Lost(self.service.lost.result().message))


@contextlib.asynccontextmanager
async def front_in_workers(settings: Settings, load: LoadEngine, metrics: Metrics) -> AsyncIterator[Front]:
    """As ``front_here``; also raises EngineError when a worker ends before it serves."""
    front = FrontInWorkers(settings, load, metrics)
    try:
        async with listening(settings, front.handover) as front.listener:
            await front.workers.start()
            yield front
    finally:
        await front.close()


def _sharing(load: LoadEngine, segment: Segment) -> LoadEngine:
    """Loads engines that know where all clips lie."""

    def load_sharing(path: Path, options: EngineOptions) -> Engine:
        return load(path, replace(options, clips_memory=segment.frames))

    return load_sharing
