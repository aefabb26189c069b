"""The HTTP worker processes: as many as are wanted, each replaced when it dies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from engines.errors import ServiceError
from server.http_workers.backoff import Backoff
from server.http_workers.segment import Segment
from server.http_workers.worker import Worker
from server.http_workers.worker_link import WorkerLink
from server.ledger import MOST_PROCESSES
from server.metrics import Metrics
from server.settings import Settings

_log = logging.getLogger(__name__)

# For connections to be closed once a worker is told to stop.
_LAST_WORDS_S = 5


class Workers:
    """``settings.http_workers`` of them, numbered from 1."""

    def __init__(
        self,
        settings: Settings,
        segment: Segment,
        metrics: Metrics,
        new_link: Callable[[], WorkerLink],
        introduce: Callable[[Worker], Coroutine[Any, Any, None]],
    ) -> None:
        """``introduce``: tell a new one what there is to know, before it is given connections."""
        self._settings = settings
        self._segment = segment
        self._metrics = metrics
        self._new_link = new_link
        self._introduce = introduce
        self._alive: dict[int, Worker] = {}
        self._introduced: dict[int, Worker] = {}
        self._owners: set[int] = set()
        self._keepers: dict[int, asyncio.Task[None]] = {}
        self._reclaiming: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def alive(self) -> list[Worker]:
        return list(self._alive.values())

    @property
    def ready(self) -> list[Worker]:
        """Those that can be given connections."""
        return list(self._introduced.values())

    async def start(self) -> None:
        """Returns when all serve.

        Raises:
            ConfigurationError, EngineError: one of them cannot, or died in the attempt.
        """
        numbers = range(1, self._settings.http_workers + 1)
        started = await asyncio.gather(*(self._spawn(number) for number in numbers), return_exceptions=True)
        for result in started:
            if isinstance(result, BaseException):
                raise result
        for number in numbers:
            self._keepers[number] = asyncio.create_task(self._keep(number), name=f"keeper {number}")

    def replace_no_more(self) -> None:
        """Who ends now may."""
        self._stopping = True
        for number, keeper in self._keepers.items():
            if number not in self._alive:
                keeper.cancel()

    async def wait(self) -> None:
        """For all of them to end, as they are told to; who does not, is made to."""
        self.replace_no_more()
        ends = [asyncio.create_task(worker.gone()) for worker in self.alive]
        if ends:
            await asyncio.wait(ends, timeout=_LAST_WORDS_S)
        for worker in self.alive:
            worker.kill()
        await asyncio.gather(*ends)
        for keeper in self._keepers.values():
            keeper.cancel()

    async def _keep(self, number: int) -> None:
        backoff = Backoff()
        while True:
            worker = self._alive[number]
            code = await self._gone(worker)
            self._bury(worker)
            if self._stopping:
                return
            self._metrics.worker_died()
            pause_s = backoff.died()
            lost = {"worker": number, "pid": worker.pid, "exit_code": code, "requests_lost": worker.link.requests}
            _log.error("http worker died", extra=lost | {"replaced_in_s": pause_s})
            await self._replace(number, backoff, pause_s)

    async def _gone(self, worker: Worker) -> int:
        watch = asyncio.create_task(self._watch(worker), name=f"watch {worker.number}")
        try:
            return await worker.gone()
        finally:
            watch.cancel()

    async def _watch(self, worker: Worker) -> None:
        """Ends it when it hangs, for its clients to notice; connections go on being handed to it until then."""
        timeout_s = self._settings.http_worker_timeout_s
        hangs = False
        while not hangs:
            await asyncio.sleep(timeout_s / 4)
            hangs = await worker.link.hangs(timeout_s)
        _log.error("http worker hangs", extra={"worker": worker.number, "pid": worker.pid, "timeout_s": timeout_s})
        worker.kill()

    async def _replace(self, number: int, backoff: Backoff, pause_s: float) -> None:
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self._spawn(number)
            except (ServiceError, OSError) as error:
                pause_s = backoff.died()
                _log.error(
                    "http worker not replaced", extra={"worker": number, "error": str(error), "again_in_s": pause_s}
                )
                continue
            backoff.started()
            return

    async def _spawn(self, number: int) -> None:
        owner = min(set(range(1, MOST_PROCESSES)) - self._owners)
        self._owners.add(owner)
        link = self._new_link()
        try:
            worker = await Worker.spawned(number, owner, self._settings, self._segment, link)
        except BaseException:
            self._reclaim(owner, link)
            raise
        self._alive[number] = worker
        await self._introduce(worker)
        if not link.ended.is_set():
            self._introduced[number] = worker
            _log.info("http worker serves", extra={"worker": number, "pid": worker.pid})

    def _bury(self, worker: Worker) -> None:
        del self._alive[worker.number]
        self._introduced.pop(worker.number, None)
        self._reclaim(worker.owner, worker.link)

    def _reclaim(self, owner: int, link: WorkerLink) -> None:
        """Its places in the shared memory are free when the engine is through with what is in them."""

        async def reclaim() -> None:
            await link.clips.until_nobody_looks()
            self._segment.forget(owner)
            self._owners.discard(owner)

        task = asyncio.create_task(reclaim())
        self._reclaiming.add(task)
        task.add_done_callback(self._reclaiming.discard)
