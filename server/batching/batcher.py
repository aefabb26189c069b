"""Gathers waiting clips into batches for the engines; one task owns the queue before all of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence

from engines.clip import Clip
from engines.engine import Engine
from engines.errors import EngineLostError
from server.batching.clip_queue import Classified, ClipQueue, Job, Priority
from server.batching.engine_instance import EngineInstance
from server.errors import NotReadyError
from server.limits.throughput import Throughput
from server.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

_RETRY_LOST_S = 5
# Smaller batches are not worth their fixed cost.
_LEAST_HALF = 2


class Batcher:
    """Gives the oldest clips to the engine with the least to do, when it is free or will be by the time they are ready.

    An idle engine gets what there is at once, in two halves where it has lanes. One that is busy, but has a free lane,
    gets a full batch at once, and fewer clips only so early that their copying and preprocessing end with the batch
    before: until then more may come, and nobody waits for it. Clips of any sizes share a batch. Engines run the same
    bundle, each on its own device.
    """

    def __init__(
        self, engines: Sequence[Engine], timeout_s: float, rate: Throughput, metrics: Metrics, batch_wait_s: float = 0
    ) -> None:
        self._most = engines[0].manifest.max_batch
        self._instances = [EngineInstance(engine, timeout_s, rate, metrics) for engine in engines]
        self._engines = len(engines)
        self._metrics = metrics
        self._batch_wait_s = batch_wait_s
        self._queue = ClipQueue()
        self._news = asyncio.Event()
        self._on_lost: Callable[[EngineLostError], None] = lambda error: None
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Clips in the queue."""
        return len(self._queue)

    @property
    def engines_serving(self) -> int:
        return len(self._instances)

    @property
    def engines_lost(self) -> int:
        return self._engines - len(self._instances)

    def start(self, on_lost: Callable[[EngineLostError], None]) -> None:
        """Classify until ``stop``; ``on_lost`` is called once, when the last engine is of no more use."""
        self._on_lost = on_lost
        self._task = asyncio.create_task(self._run(), name="batcher")

    async def stop(self, timeout_s: float) -> list[Engine]:
        """Take no more clips, and wait for those in the engines; those engines that came back in time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for instance in self._instances:
            instance.abandon()
        came_back = await asyncio.gather(*(instance.close(timeout_s) for instance in self._instances))
        return [instance.engine for instance, back in zip(self._instances, came_back, strict=True) if back]

    async def classify(self, clip: Clip, deadline_s: float, priority: Priority = "normal") -> Classified:
        """The engine's answer for this clip and no other; cancel it and the engine never sees a clip still waiting.

        Raises:
            EngineError: the engine failed on the clip.
            NotReadyError: all engines are lost.
        """
        if not self._instances:
            raise _lost_error()
        job = Job(clip, priority, deadline_s, asyncio.get_running_loop().create_future())
        self._queue.put(job)
        self._news.set()
        try:
            return await job.answer
        except asyncio.CancelledError:
            self._queue.discard(job)
            reason = "deadline" if time.monotonic() >= deadline_s else "gone"
            self._metrics.cancelled(reason, started=job.started)
            raise
        finally:
            # An error's traceback holds this frame, which would hold the error, and the clip with it.
            del job

    async def _run(self) -> None:
        jobs: list[Job] = []
        try:
            while self._instances:
                instance = await self._next_instance()
                jobs = self._queue.take(self._share(instance))
                if jobs:
                    instance.start(jobs, self._ended)
                jobs = []  # not kept while nothing comes
        except Exception as error:  # a batcher that has ended would leave every client waiting
            _refuse(jobs)
            for instance in list(self._instances):
                self._lose(instance, error)

    async def _next_instance(self) -> EngineInstance:
        """The one to which clips should go now, once that is worth while."""
        while True:
            self._news.clear()
            # While all lanes are taken, no time is the right one.
            free = min((one for one in self._instances if one.has_room), key=lambda one: one.load, default=None)
            wait_s = self._wait_s(free) if free is not None and self.waiting else None
            if free is not None and wait_s is not None and wait_s <= 0:
                return free
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()

    def _wait_s(self, instance: EngineInstance) -> float:
        if self.waiting >= self._most:
            return 0
        if instance.is_idle:
            return self._batch_wait_s - (time.monotonic() - self._queue.oldest_s) if self._batch_wait_s else 0
        return instance.wants_in_s(self.waiting)

    def _share(self, instance: EngineInstance) -> int:
        """Clips for one batch: engines that are idle divide what waits between them, and the lanes of one halve it.

        Whole, it would leave the other lane empty, and its clients would all ask again at once.
        """
        idle = sum(one.is_idle for one in self._instances)
        share = -(-self.waiting // max(1, idle))
        if instance.is_idle and instance.engine.lanes > 1:
            share = min(share, max(_LEAST_HALF, -(-share // 2)))
        return min(self._most, share)

    def _ended(self, instance: EngineInstance, error: BaseException | None) -> None:
        """A batch is through, or was the end of its engine."""
        if error is not None and instance in self._instances:
            self._lose(instance, error)
        self._news.set()

    def _lose(self, instance: EngineInstance, error: BaseException) -> None:
        """Go on without ``instance``; its clips go to the others, each once: it may have been a clip that broke it."""
        self._instances.remove(instance)
        lost = error if isinstance(error, EngineLostError) else EngineLostError(f"the batcher failed: {error!r}")
        unanswered = instance.abandon()
        again = [job for job in unanswered if self._instances and job.wanted and not job.tried]
        _refuse([job for job in unanswered if job not in again])
        self._queue.put_back(again)
        if self._instances:
            extra = {"device": instance.engine.device_name, "error": str(lost), "engines_left": len(self._instances)}
            _log.error("an engine is lost, the others go on", extra=extra)
        else:
            self._on_lost(lost)
            _refuse(self._queue.take_all())


def _refuse(jobs: list[Job]) -> None:
    for job in jobs:
        if not job.answer.done():
            job.answer.set_exception(_lost_error())


def _lost_error() -> NotReadyError:
    return NotReadyError("the engine is lost", retry_after_s=_RETRY_LOST_S)
