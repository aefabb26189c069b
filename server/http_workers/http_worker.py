"""The service in an HTTP worker process: the same handlers, with the engine at the other end of a line."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from engines.errors import EngineLostError
from server.admission import Admission
from server.app import make_app
from server.deployment import Deployment
from server.http_workers.engine_link import EngineLink
from server.http_workers.handover import Door
from server.http_workers.messages import Begin, Deploy, Drain, Drained, Draining, Hit, Lost, Serving, Stop, Told, Using
from server.http_workers.remote_counts import RemoteCounts
from server.http_workers.remote_engine import RemoteBatcher, RemoteEngine
from server.http_workers.segment import Segment
from server.http_workers.slots import Slots
from server.ledger import SharedLedger
from server.listener import connecting
from server.service import Service
from server.service_rate import ServiceRate

# How long the others may believe that bodies come fast which have come to a standstill here.
_TELL_SOON_S = 0.1


class HttpWorker:
    """One worker, from its first order to its last."""

    def __init__(self, begin: Begin, link: EngineLink, segment: Segment) -> None:
        settings = begin.settings
        self._link = link
        self._segment = segment
        self._slots = Slots(segment, begin.owner)
        rate = ServiceRate(segment.rate)
        ledger = SharedLedger(segment.figures, begin.owner)
        self._admission = Admission(settings.queue_size, settings.max_inflight_bytes, rate, ledger)
        self._counts = RemoteCounts(link)
        self._service = Service(settings, self._counts, self._admission)

    async def serve(self, door: socket.socket) -> int:
        """Until it is told to stop; the exit code. Raises ConfigurationError."""
        app = make_app(self._service, self._check_rate)
        async with connecting(app, self._service) as connections, self._telling():
            with contextlib.closing(Door(door, connections, self._counts.taken)):
                self._link.send(Serving())
                code = await self._obey()
        await self._service.close()
        return code

    async def _obey(self) -> int:
        while True:
            match await self._link.orders.get():
                case Deploy() as deploy:
                    self._service.put(self._deployment(deploy))
                    self._link.send(Using(deploy.generation))
                case Draining(accepting):
                    self._service.start_draining(accepting=accepting)
                    self._link.send(Told())
                case Lost(error):
                    self._service.engine_lost(EngineLostError(error))
                    self._link.send(Told())
                case Drain():
                    drain = asyncio.create_task(self._service.drain())
                    drain.add_done_callback(lambda _: self._link.send(Drained()))
                case Stop():
                    return 0
                case None:
                    self._service.engine_lost(EngineLostError("the engine process has ended"))
                    await self._service.drain()
                    return 1

    def _deployment(self, deploy: Deploy) -> Deployment:
        batcher = RemoteBatcher(deploy.generation, self._segment, self._slots, self._admission, self._link)
        return Deployment(RemoteEngine(deploy, self._slots), batcher)

    async def _check_rate(self, client: str) -> None:
        """All workers together count; raises RateLimitedError."""
        await self._link.ask(lambda number: Hit(number, client))

    @contextlib.asynccontextmanager
    async def _telling(self) -> AsyncIterator[None]:
        """While the block runs, the other workers are kept up to date."""

        async def tell() -> None:
            while True:
                await asyncio.sleep(_TELL_SOON_S)
                self._admission.tell_soon()

        task = asyncio.create_task(tell())
        try:
            yield
        finally:
            task.cancel()
