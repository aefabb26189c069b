"""Gathers waiting clips into batches; one task serves one queue to all engines."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence

from engines.clip import Clip
from engines.engine import Engine
from engines.errors import EngineError, EngineLostError
from server.batching.clip_queue import Classified, ClipQueue, Job, Priority, StreamShare
from server.batching.device_turns import ModelShares
from server.batching.engine_checks import EngineChecks
from server.batching.engine_instance import EngineInstance
from server.errors import NotReadyError
from server.limits.throughput import Throughput
from server.telemetry.model_metrics import ModelMetrics

_log = logging.getLogger(__name__)

_RETRY_LOST_S = 5
# A half of a divided batch has at least this many clips, because each batch has a fixed cost.
_MIN_HALF = 2


class Batcher:
    """Gives the oldest clips to the engine with the least work.

    All engines run the same bundle, each on its own device. An idle engine gets the waiting clips at once, as two
    batches if it has several lanes. A busy engine with a free lane gets a full batch at once. It gets a smaller batch
    only when the preparation of that batch would end together with the current batch: more clips can arrive until
    then, and no clip waits longer. Clips of different frame sizes share a batch. A clip of low priority goes to an idle
    engine, alone, and only while no other clip waits.

    Invariants: all attributes belong to the event loop. Only the task ``batcher`` takes clips for a batch. A job that
    is still wanted is in the queue, in ``_checks`` or in exactly one engine instance, and moves between them without an
    ``await``. A lost engine leaves ``_instances`` for good; when the last one leaves, ``on_lost`` is called once
    and every waiting job is refused.
    """

    def __init__(
        self,
        engines: Sequence[Engine],
        timeout_s: float,
        throughput: Throughput,
        metrics: ModelMetrics,
        batch_wait_s: float = 0,
        shares: ModelShares | None = None,
    ) -> None:
        """``shares``: in the devices that engines of other batchers may be on too."""
        self._max_batch = engines[0].manifest.max_batch
        self._changed = asyncio.Event()
        self._instances = [
            EngineInstance(
                engine, timeout_s, throughput, metrics, shares.claim(engine, self._changed.set) if shares else None
            )
            for engine in engines
        ]
        self._engines = len(engines)
        self._metrics = metrics
        self._batch_wait_s = batch_wait_s
        self._queue = ClipQueue()
        self._checks = EngineChecks()
        self._on_lost: Callable[[EngineLostError], None] = lambda error: None
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Number of clips in the queue, without those of low priority."""
        return len(self._queue)

    @property
    def waiting_low_priority(self) -> int:
        """Number of clips of low priority in the queue."""
        return self._queue.low_priority

    @property
    def instances(self) -> tuple[EngineInstance, ...]:
        """The engines that are not lost."""
        return tuple(self._instances)

    @property
    def engines_serving(self) -> int:
        return len(self._instances)

    @property
    def engines_lost(self) -> int:
        return self._engines - len(self._instances)

    async def warm_up(self) -> None:
        """Warm the engines up, one after the other, before ``start``; raises EngineError if one fails."""
        for instance in self._instances:
            await instance.warm_up(self._changed)

    def start(self, on_lost: Callable[[EngineLostError], None]) -> None:
        """Start to classify; ``on_lost`` is called once, when the last engine is lost."""
        self._on_lost = on_lost
        self._task = asyncio.create_task(self._run(), name="batcher")

    async def stop(self, timeout_s: float) -> list[Engine]:
        """Start no more batches, wait up to ``timeout_s`` for those that run, and return the engines that finished."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for instance in self._instances:
            instance.abandon()
        finished = await asyncio.gather(*(instance.close(timeout_s) for instance in self._instances))
        return [instance.engine for instance, ended in zip(self._instances, finished, strict=True) if ended]

    async def classify(
        self, clip: Clip, deadline_s: float, priority: Priority = "normal", share: StreamShare | None = None
    ) -> Classified:
        """Classify ``clip``, of the stream ``share`` if it belongs to one, which has no other clip here.

        When the call is cancelled, a clip that still waits never reaches an engine.

        Raises:
            EngineError: the engine failed on the clip.
            NotReadyError: all engines are lost.
        """
        if not self._instances:
            raise _lost_error()
        job = Job(clip, priority, deadline_s, asyncio.get_running_loop().create_future(), share)
        self._queue.put(job)
        self._changed.set()
        try:
            return await job.answer
        except asyncio.CancelledError:
            self._queue.discard(job)
            reason = "deadline" if time.monotonic() >= deadline_s else "gone"
            self._metrics.cancelled(reason, started=job.started)
            raise
        finally:
            # The traceback of an error refers to this frame, and the job to the error: without this, that cycle would
            # keep the pixels in memory until the next garbage collection.
            del job

    def replace(self, share: StreamShare, clip: Clip) -> bool:
        """Classify ``clip`` instead of the waiting one of that stream; return False if an engine has taken that one."""
        return self._queue.replace(share, clip)

    async def check(self, instance: EngineInstance, clip: Clip, latest_s: float) -> Classified:
        """Classify ``clip`` alone on ``instance`` as soon as no client's clip waits, or first of all from ``latest_s``.

        At most one check of an instance waits at a time. Raises what ``classify`` raises.
        """
        if instance not in self._instances:
            raise _lost_error()
        job = self._checks.put(instance, clip, latest_s)
        self._changed.set()
        try:
            return await job.answer
        finally:
            self._checks.take(instance)
            del job

    async def check_all(self) -> None:
        """Have each engine classify a clip first of all; one that fails on it is lost."""
        await asyncio.gather(*(self._check_engine(one) for one in self.instances if one not in self._checks))

    async def _check_engine(self, instance: EngineInstance) -> None:
        # An engine that is lost meanwhile has already been reported.
        with contextlib.suppress(NotReadyError):
            try:
                await self.check(instance, instance.probe, time.monotonic())
            except EngineError as error:
                self.lose(instance, EngineLostError(str(error)))

    def lose(self, instance: EngineInstance, error: EngineLostError) -> None:
        """Use ``instance`` no more, because its answers are wrong."""
        if instance in self._instances:
            self._lose(instance, error)
            self._changed.set()

    async def _run(self) -> None:
        jobs: list[Job] = []
        try:
            while self._instances:
                instance = await self._next_instance()
                jobs = self._take(instance)
                if jobs:
                    instance.start(jobs, self._ended)
                else:
                    instance.leave_turn()
                jobs = []  # do not keep the clips in memory while the task waits
        except Exception as error:  # otherwise every client would wait until its deadline
            _refuse(jobs)
            for instance in list(self._instances):
                self._lose(instance, error)

    async def _next_instance(self) -> EngineInstance:
        """Wait until a batch should be started, and return the engine for it."""
        while True:
            self._changed.clear()
            wanted, wait_s = self._wanted()
            for one in self._instances:
                if one not in wanted:
                    one.not_now()
            for one in wanted:
                if one.take_turn():
                    return one
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    def _wanted(self) -> tuple[list[EngineInstance], float | None]:
        """The engines that should start a batch, the first if its device lets it; else the seconds until one should.

        None instead of seconds: when something changes.
        """
        checked = self._checks.due(nothing_waits=not self.waiting)
        if checked is not None:
            return [checked], None
        # While all lanes are taken, only a change can make room, so that there is no timeout.
        free = sorted((one for one in self._instances if one.has_room), key=lambda one: one.load)
        wait_s = self._wait_s(free[0]) if free else None
        if wait_s is None or wait_s > 0:
            return [], wait_s
        return [one for one in free if (due_s := self._wait_s(one)) is not None and due_s <= 0], None

    def _take(self, instance: EngineInstance) -> list[Job]:
        if self._checks.is_due(instance, nothing_waits=not self.waiting):
            return self._checks.take(instance)
        return self._queue.take(self._share(instance))

    def _wait_s(self, instance: EngineInstance) -> float | None:
        """Seconds until the waiting clips should go to ``instance``; at most 0: now; None: when something changes."""
        if not self.waiting:
            return 0 if self.waiting_low_priority and instance.is_idle else None
        if self.waiting >= self._max_batch:
            return 0
        if instance.is_idle:
            return self._batch_wait_s - (time.monotonic() - self._queue.oldest_s) if self._batch_wait_s else 0
        return instance.seconds_until_due(self.waiting)

    def _share(self, instance: EngineInstance) -> int:
        """Number of clips for the next batch: idle engines share the queue, and an engine with lanes halves its share.

        One undivided batch would leave the other lane empty, and all its clients would send their next clips at once.
        """
        idle = sum(one.is_idle for one in self._instances)
        share = -(-self.waiting // max(1, idle))
        if instance.is_idle and instance.engine.lanes > 1:
            share = min(share, max(_MIN_HALF, -(-share // 2)))
        return min(self._max_batch, share)

    def _ended(self, instance: EngineInstance, error: BaseException | None) -> None:
        """A batch of ``instance`` ended; with ``error`` the engine is lost."""
        if error is not None and instance in self._instances:
            self._lose(instance, error)
        self._changed.set()

    def _lose(self, instance: EngineInstance, error: BaseException) -> None:
        """Continue without ``instance``. Other engines try each of its clips once, since a clip may have broken it."""
        self._instances.remove(instance)
        _refuse(self._checks.take(instance))
        lost = error if isinstance(error, EngineLostError) else EngineLostError(f"the batcher failed: {error!r}")
        unanswered = instance.abandon()
        retried = [job for job in unanswered if self._instances and job.wanted and not job.tried]
        _refuse([job for job in unanswered if job not in retried])
        self._queue.put_back(retried)
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
