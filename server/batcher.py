"""Gathers waiting clips into batches for the engine; one task owns the queue and the thread that runs the engine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from engines.clip import Clip
from engines.engine import Engine, Inference
from engines.errors import EngineError, EngineLostError, NotReadyError
from server.clip_queue import Classified, ClipQueue, Job, Priority
from server.engine_thread import EngineThread
from server.metrics import Metrics
from server.service_rate import ServiceRate
from server.warm_up import noise_clip

_log = logging.getLogger(__name__)

# After so many failures in a row the engine is asked about a clip that is known to be good.
_FAILURES_BEFORE_PROBE = 3
_RETRY_LOST_S = 5


class Batcher:
    """Gives the engine the oldest clips, up to its batch, whenever it is free. Clips of any sizes share a batch."""

    def __init__(
        self, engine: Engine, timeout_s: float, rate: ServiceRate, metrics: Metrics, batch_wait_s: float = 0
    ) -> None:
        self._most = engine.manifest.max_batch
        self._thread = EngineThread(engine, timeout_s)
        self._rate = rate
        self._metrics = metrics
        self._batch_wait_s = batch_wait_s
        self._queue = ClipQueue()
        self._probe = noise_clip(engine)
        self._failures = 0
        self._lost = False
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Clips in the queue."""
        return len(self._queue)

    def start(self, on_lost: Callable[[EngineLostError], None]) -> None:
        """Classify until ``stop``; ``on_lost`` is called once when the engine is of no more use."""
        self._task = asyncio.create_task(self._run(on_lost), name="batcher")

    async def stop(self, timeout_s: float) -> bool:
        """Take no more clips, and wait for those in the engine; whether it came back in time."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        return await self._thread.close(timeout_s)

    async def classify(self, clip: Clip, deadline_s: float, priority: Priority = "normal") -> Classified:
        """The engine's answer for this clip and no other; cancel it and the engine never sees a clip still waiting.

        Raises:
            EngineError: the engine failed on the clip.
            NotReadyError: the engine is lost.
        """
        if self._lost:
            raise _lost_error()
        job = Job(clip, priority, deadline_s, asyncio.get_running_loop().create_future())
        self._queue.put(job)
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

    async def _run(self, on_lost: Callable[[EngineLostError], None]) -> None:
        jobs: list[Job] = []
        try:
            while True:
                jobs = await self._next_jobs()
                await self._serve(jobs)
                jobs = []  # not kept while nothing comes
        except Exception as error:  # a batcher that has ended would leave every client waiting
            lost = error if isinstance(error, EngineLostError) else EngineLostError(f"the batcher failed: {error!r}")
            self._lost = True
            on_lost(lost)
            _refuse(jobs + self._queue.take_all())

    async def _next_jobs(self) -> list[Job]:
        await self._queue.wait_for(1)
        if self._batch_wait_s and len(self._queue) < self._most:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._batch_wait_s):
                    await self._queue.wait_for(self._most)
        return self._queue.take(self._most)

    async def _serve(self, jobs: list[Job]) -> None:
        """Answer ``jobs``; when they fail together, each is tried once alone, so that only one at fault fails."""
        jobs = [job for job in jobs if job.wanted]
        if not jobs:
            return
        try:
            await self._infer(jobs)
            self._failures = 0
        except EngineLostError:
            raise
        except Exception as error:
            self._metrics.engine_failures.inc()
            if len(jobs) == 1:
                await self._fail(jobs[0], error)
                return
            _log.warning("batch failed, trying its clips alone", extra={"clips": len(jobs), "error": str(error)})
            for job in jobs:
                await self._serve([job])

    async def _infer(self, jobs: list[Job]) -> None:
        started_s = time.monotonic()
        for job in jobs:
            job.started = True
        self._metrics.batch_clips.observe(len(jobs))
        inference = await self._thread.infer([job.clip for job in jobs])
        self._rate.record(len(jobs), time.monotonic() - started_s)
        _answer(jobs, inference, started_s)

    async def _fail(self, job: Job, error: Exception) -> None:
        if not job.answer.done():
            job.answer.set_exception(_engine_error(error))
        self._failures += 1
        if self._failures >= _FAILURES_BEFORE_PROBE:
            await self._check_engine(error)
            self._failures = 0

    async def _check_engine(self, last: Exception) -> None:
        """Clients' clips may all be at fault, the noise of the warm-up is not."""
        try:
            await self._thread.infer([self._probe])
        except EngineLostError:
            raise
        except Exception as error:
            raise EngineLostError(f"the engine fails on every clip: {error}") from last


def _refuse(jobs: list[Job]) -> None:
    for job in jobs:
        if not job.answer.done():
            job.answer.set_exception(_lost_error())


def _lost_error() -> NotReadyError:
    return NotReadyError("the engine is lost", retry_after_s=_RETRY_LOST_S)


def _engine_error(error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        return error
    wrapped = EngineError(f"the engine raised {error!r}")
    wrapped.__cause__ = error
    return wrapped


def _answer(jobs: list[Job], inference: Inference, started_s: float) -> None:
    for job, probabilities in zip(jobs, inference.probabilities, strict=True):
        if not job.answer.done():
            queue_ms = (started_s - job.queued_at_s) * 1e3
            job.answer.set_result(Classified(probabilities, queue_ms, inference.preprocess_ms, inference.network_ms))
