"""Checks the engine in service again and again with clips whose answers are known."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging

from engines.errors import EngineError, EngineLostError
from engines.storage.reference import Reference
from engines.storage.verification import wrong_answer
from server.batching.batcher import Batcher
from server.batching.engine_instance import EngineInstance
from server.errors import NotReadyError
from server.telemetry.model_metrics import ModelMetrics

_log = logging.getLogger(__name__)

# A check waits for an idle moment during this share of the interval; then it delays the waiting clips by one batch.
_WAITING_SHARE = 0.25


class Canary:
    """Runs one reference clip through each engine in every interval, and loses an engine that answers wrongly.

    An engine that computes wrong answers for everybody raises no error, so only a known answer can find it.
    """

    def __init__(self, batcher: Batcher, reference: Reference, every_s: float, metrics: ModelMetrics) -> None:
        self._batcher = batcher
        self._reference = reference
        self._every_s = every_s
        self._metrics = metrics
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="canary")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        for clip in itertools.cycle(range(len(self._reference.clips))):
            await asyncio.sleep(self._every_s * (1 - _WAITING_SHARE))
            await asyncio.gather(*(self._check(one, clip) for one in self._batcher.instances))

    async def _check(self, instance: EngineInstance, clip: int) -> None:
        # An engine that is lost meanwhile has already been reported.
        with contextlib.suppress(NotReadyError):
            error = await self._error(instance, clip)
            self._metrics.checked("right" if error is None else "wrong")
            if error is not None:
                _log.error("the engine answers wrongly", extra={"device": instance.engine.device_name, "error": error})
                self._batcher.lose(instance, EngineLostError(error))

    async def _error(self, instance: EngineInstance, clip: int) -> str | None:
        """What is wrong with the answer of ``instance`` to that reference clip; None if nothing is."""
        latest_s = asyncio.get_running_loop().time() + self._every_s * _WAITING_SHARE
        try:
            answer = await self._batcher.check(instance, self._reference.clips[clip], latest_s)
        except EngineError as error:
            return f"the engine failed on a reference clip: {error}"
        wrong = wrong_answer(instance.engine, self._reference, clip, answer.probabilities, answer.features)
        return None if wrong is None else f"of a reference clip, the {wrong}"
