"""The threads that run an engine, one per lane, with a timeout and a check of the answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from engines.clip import Clip
from engines.engine import Engine, Inference
from engines.errors import EngineError, EngineLostError

_PROBABILITY_SUM_TOLERANCE = 1e-2


class EngineThreads:
    """Calls ``engine`` in threads, one batch in each, with a time limit for each call and a check of each answer.

    Invariant: ``_calls`` belongs to the event loop and holds each call until its thread returns, even when nobody
    waits for it any more.
    """

    def __init__(self, engine: Engine, timeout_s: float) -> None:
        self._engine = engine
        self._timeout_s = timeout_s
        self._executor = ThreadPoolExecutor(engine.lanes, thread_name_prefix="engine")
        self._calls: set[asyncio.Future[Inference]] = set()

    async def infer(self, clips: Sequence[Clip]) -> Inference:
        """Classify a batch.

        Raises:
            EngineLostError: the engine raised it, or did not return in time; its thread cannot be stopped.
            EngineError: the answers are not probabilities.
            Exception: the engine raised it.
        """
        call = asyncio.get_running_loop().run_in_executor(self._executor, self._engine.infer, clips)
        self._calls.add(call)
        call.add_done_callback(self._ended)
        await asyncio.wait([call], timeout=self._timeout_s)
        if not call.done():
            raise EngineLostError(f"the engine did not return within {self._timeout_s:g} s")
        inference = call.result()
        check_probabilities(inference, len(clips))
        return inference

    async def infer_in_each(self, clips: Sequence[Clip]) -> None:
        """Classify the same batch in every thread at once, without a time limit, so that each also uses another lane.

        Raises what ``infer`` raises. Nothing else may run meanwhile.
        """
        together = threading.Barrier(self._engine.lanes)

        def infer() -> Inference:
            together.wait()
            return self._engine.infer(clips)

        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(self._executor, infer) for _ in range(self._engine.lanes)]
        for call in calls:
            self._calls.add(call)
            call.add_done_callback(self._ended)
        await asyncio.wait(calls)
        for call in calls:
            check_probabilities(call.result(), len(clips))

    async def close(self, timeout_s: float) -> bool:
        """Accept no more batches, and return whether those in the engine ended within ``timeout_s``."""
        self._executor.shutdown(wait=False)
        if not self._calls:
            return True
        _, late = await asyncio.wait(list(self._calls), timeout=timeout_s)
        return not late

    def _ended(self, call: asyncio.Future[Inference]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # marks it as retrieved; asyncio would log the error of a call that nobody waits for


def check_probabilities(inference: Inference, clips: int) -> None:
    """Raise EngineError unless there is one row per clip and each row sums to 1; rows with NaN do not.

    A network without labels has rows without values. Features have to be finite.
    """
    if len(inference.probabilities) != clips:
        raise EngineError(f"the engine returned {len(inference.probabilities)} answers for {clips} clips")
    if inference.features is not None and not np.isfinite(inference.features).all():
        raise EngineError("the engine's features are not finite", help="export the model again with --precision fp32")
    sums = inference.probabilities.sum(axis=1)
    if inference.probabilities.shape[1] and not np.allclose(sums, 1, atol=_PROBABILITY_SUM_TOLERANCE):
        raise EngineError(
            f"the engine's answers are no probabilities: they sum to {sums.tolist()}, not to 1",
            help="export the model again; if the error remains, export with --precision fp32",
        )
