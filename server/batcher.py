"""Clips wait here for the engine; one task owns the queue and the only thread that runs the engine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engines.clip import Clip
from engines.engine import Engine, Inference
from engines.errors import NotReadyError


@dataclass(frozen=True, slots=True)
class Classified:
    """``probabilities``: float32 [labels]; milliseconds in the queue and in the engine (its whole batch's)."""

    probabilities: npt.NDArray[np.float32]
    queue_ms: float
    infer_ms: float


@dataclass(frozen=True, slots=True)
class _Job:
    clip: Clip
    answer: asyncio.Future[Classified]
    queued_at_s: float = field(default_factory=time.perf_counter)


class Batcher:
    """Gives the engine the oldest clips, up to its batch, whenever it is free. Clips of any sizes share a batch."""

    def __init__(self, engine: Engine, queue_size: int) -> None:
        self._engine = engine
        self._queue: asyncio.Queue[_Job] = asyncio.Queue(queue_size)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Batcher]:
        """Classify while the context is open; leaving it waits for the batch in the engine."""
        task = asyncio.create_task(self._run(), name="batcher")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])
            await asyncio.to_thread(self._thread.shutdown)

    async def classify(self, clip: Clip) -> Classified:
        """The engine's answer for this clip and no other.

        Raises:
            NotReadyError: the queue is full.
            EngineError: the engine failed on the clip's batch.
        """
        job = _Job(clip, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(job)
        except asyncio.QueueFull:
            raise NotReadyError(f"{self._queue.maxsize} clips are waiting already", retry_after_s=1) from None
        return await job.answer

    async def _run(self) -> None:
        while True:
            jobs = await self._next_jobs()
            if jobs:
                await self._infer(jobs)

    async def _next_jobs(self) -> list[_Job]:
        """Waits for a clip, then takes what else is there; clips whose client has gone are left out."""
        jobs = [await self._queue.get()]
        while len(jobs) < self._engine.manifest.max_batch and not self._queue.empty():
            jobs.append(self._queue.get_nowait())
        return [job for job in jobs if not job.answer.done()]

    async def _infer(self, jobs: list[_Job]) -> None:
        started_s = time.perf_counter()
        clips = [job.clip for job in jobs]
        try:
            inference = await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.infer, clips)
        except Exception as error:  # whatever it is, each waiting client is told, and the next batch is taken
            for job in jobs:
                if not job.answer.done():
                    job.answer.set_exception(error)
            return
        _answer(jobs, inference, started_s)


def _answer(jobs: list[_Job], inference: Inference, started_s: float) -> None:
    infer_ms = inference.preprocess_ms + inference.network_ms
    for job, probabilities in zip(jobs, inference.probabilities, strict=True):
        if not job.answer.done():
            job.answer.set_result(Classified(probabilities, (started_s - job.queued_at_s) * 1e3, infer_ms))
