"""One engine in operation: its running batches, when the next one is due, and whether it still works."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import AsyncIterator, Callable

from engines.engine import Engine, Inference
from engines.errors import EngineError, EngineLostError
from server.batching.clip_queue import Classified, Job
from server.batching.device_turns import Claim
from server.batching.engine_threads import EngineThreads
from server.batching.warm_up import noise_clip, warm_up
from server.limits.throughput import Throughput
from server.telemetry.model_metrics import ModelMetrics
from server.telemetry.phases import ClipTimes

_log = logging.getLogger(__name__)

# After this many failures in a row the engine has to classify a clip that is known to be good.
_FAILURES_BEFORE_PROBE = 3
# Weight of the newest batch when an estimate returns to normal after an unusually slow or fast batch.
_NEWEST_WEIGHT = 0.05
# A batch is handed over this much earlier than computed, because the event loop and the thread take time as well.
_HANDOVER_MARGIN_S = 1e-3


class EngineInstance:
    """Runs the batches of one engine, at most one per lane, and reports when the engine is lost.

    Invariants: all attributes belong to the event loop; only ``EngineThreads`` enters other threads. ``_batches`` holds
    a task and its jobs from ``start`` until the task succeeds or ``abandon`` is called. A task fails only if the engine
    is lost, and ``abandon`` then returns its unanswered jobs. ``_ends_s`` is the estimated end of the last network;
    it counts only while ``_batches`` is not empty. ``_failures`` counts consecutive clips that failed alone.
    """

    def __init__(
        self,
        engine: Engine,
        timeout_s: float,
        throughput: Throughput,
        metrics: ModelMetrics,
        claim: Claim | None = None,
    ) -> None:
        """``claim``: what the engine has of a device on which other engines may be."""
        self.engine = engine
        self._threads = EngineThreads(engine, timeout_s)
        self._throughput = throughput
        self._metrics = metrics
        self._estimate = _LatencyEstimate()
        self.probe = noise_clip(engine)
        self._failures = 0
        self._claim = claim
        self._batches: dict[asyncio.Task[None], list[Job]] = {}
        self._ends_s = 0.0

    async def warm_up(self, changed: asyncio.Event) -> None:
        """Run every batch size before the first client comes; see ``warm_up`` for the errors.

        ``changed`` is set when to ask for a turn again.
        """
        await warm_up(self.engine, self._threads, self.probe, functools.partial(self._turn, changed))

    @contextlib.asynccontextmanager
    async def _turn(self, changed: asyncio.Event) -> AsyncIterator[None]:
        while not self.take_turn():
            changed.clear()
            await changed.wait()
        began_s = time.monotonic()
        try:
            yield
        finally:
            self._charge(time.monotonic() - began_s)
            self.leave_turn()

    @property
    def is_idle(self) -> bool:
        return not self._batches

    @property
    def has_room(self) -> bool:
        return len(self._batches) < self.engine.lanes

    @property
    def load(self) -> tuple[int, float]:
        """The work in the engine as a sort key: number of batches, then the estimated end of the last one."""
        return len(self._batches), self._ends_s

    def seconds_until_due(self, clips: int) -> float:
        """Seconds until a batch of ``clips`` has to start so that the network never waits for it."""
        return self._ends_s - self._estimate.prepare_s(clips) - time.monotonic()

    def take_turn(self) -> bool:
        """Whether a batch may start now; else the batcher is woken when to ask again, unless it is ``not_now``.

        After a turn was taken, ``start`` or ``leave_turn`` must follow.
        """
        return self._claim is None or self._claim.take()

    def leave_turn(self) -> None:
        """There was nothing to start."""
        if self._claim is not None:
            self._claim.give_back()

    def not_now(self) -> None:
        """Ask for no turn any more."""
        if self._claim is not None:
            self._claim.withdraw()

    def start(self, jobs: list[Job], ended: Callable[[EngineInstance, BaseException | None], None]) -> None:
        """Start a batch; ``ended`` is called at its end, with the error if the engine is lost or this code failed."""
        begins_s, network_s = (
            time.monotonic() + self._estimate.prepare_s(len(jobs)),
            self._estimate.network_s(len(jobs)),
        )
        self._ends_s = max(begins_s, 0 if self.is_idle else self._ends_s) + network_s
        self._charge(network_s)
        task = asyncio.create_task(self._serve(jobs), name="batch")
        self._batches[task] = jobs

        def done(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is None:
                self._forget(task)
            self._charge(-network_s)
            # First, so that this engine also is one of those that the next turn is given to.
            ended(self, error)
            self.leave_turn()

        task.add_done_callback(done)

    def abandon(self) -> list[Job]:
        """Take no more turns, stop waiting for all batches and return their jobs; the engine may still compute them."""
        self.not_now()
        jobs = [job for batch in self._batches.values() for job in batch]
        for task in self._batches:
            task.cancel()
        self._batches.clear()
        return jobs

    async def close(self, timeout_s: float) -> bool:
        """Wait for batches that still run, and return whether they ended in time; their answers are discarded."""
        return await self._threads.close(timeout_s)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._batches.pop(task, None)
        # Networks run one after the other, so the networks of the remaining batches start only now.
        self._ends_s = time.monotonic() + sum(self._estimate.network_s(len(jobs)) for jobs in self._batches.values())

    async def _serve(self, jobs: list[Job]) -> None:
        """Answer ``jobs``; if the batch fails, each clip is tried once alone, so that only the clip at fault fails."""
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
        inference = await self._threads.infer([job.clip for job in jobs])
        self._throughput.record(len(jobs), started_s, time.monotonic())
        self._metrics.statistics.executed(len(jobs), inference)
        self._estimate.record(len(jobs), inference)
        self._charge(inference.network_ms / 1e3)
        _answer(jobs, inference, started_s)

    def _charge(self, seconds: float) -> None:
        if self._claim is not None:
            self._claim.charge(seconds)

    async def _fail(self, job: Job, error: Exception) -> None:
        if not job.answer.done():
            job.answer.set_exception(_engine_error(error))
        self._failures += 1
        if self._failures >= _FAILURES_BEFORE_PROBE:
            await self._check_engine(error)
            self._failures = 0

    async def _check_engine(self, last_error: Exception) -> None:
        """Raise EngineLostError if even the noise clip fails; clips of clients may be at fault themselves."""
        try:
            await self._threads.infer([self.probe])
        except EngineLostError:
            raise
        except Exception as error:
            raise EngineLostError(f"the engine fails on every clip: {error}") from last_error


class _LatencyEstimate:
    """Estimates the preparation (copy and preprocessing, per clip) and the network (per batch size).

    The preparation estimate follows slow batches at once and fast ones slowly; the network estimate does the opposite.
    Both errors make a batch start too early, so that a few clips miss it; a batch that starts too late leaves the
    device idle. Invariant: all attributes belong to the event loop.
    """

    def __init__(self) -> None:
        self._prepare_s = 0.0
        self._network_s: dict[int, float] = {}

    def record(self, clips: int, inference: Inference) -> None:
        """Include the measured times of a batch of ``clips``."""
        prepare_s, network_s = inference.preprocess_ms / 1e3 / clips, inference.network_ms / 1e3
        self._prepare_s = max(prepare_s, self._prepare_s + _NEWEST_WEIGHT * (prepare_s - self._prepare_s))
        known_s = self._network_s.get(clips, network_s)
        self._network_s[clips] = min(network_s, known_s + _NEWEST_WEIGHT * (network_s - known_s))

    def prepare_s(self, clips: int) -> float:
        """Seconds from handing over a batch of ``clips`` until its network can start."""
        return self._prepare_s * clips + _HANDOVER_MARGIN_S

    def network_s(self, clips: int) -> float:
        """Seconds that the network takes for a batch of ``clips``; 0 until such a batch was measured."""
        return self._network_s.get(clips, 0.0)


def _engine_error(error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        return error
    wrapped = EngineError(f"the engine raised {error!r}")
    wrapped.__cause__ = error
    return wrapped


def _answer(jobs: list[Job], inference: Inference, started_s: float) -> None:
    for index, (job, probabilities) in enumerate(zip(jobs, inference.probabilities, strict=True)):
        if not job.answer.done():
            queued_ms = (started_s - job.queued_at_s) * 1e3
            features = None if inference.features is None else inference.features[index]
            times = ClipTimes.in_batch(inference, queued_ms=queued_ms)
            job.answer.set_result(Classified(probabilities, times, features))
