"""The threads that run an engine, one for each of its lanes, and the watch over them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from engines.clip import Clip
from engines.engine import Engine, Inference
from engines.errors import EngineError, EngineLostError

_PROBABILITY_SUM_TOLERANCE = 1e-2


class EngineThreads:
    """Calls ``engine`` off the event loop, a batch in each thread, and believes neither its silence nor its answers."""

    def __init__(self, engine: Engine, timeout_s: float) -> None:
        self._engine = engine
        self._timeout_s = timeout_s
        self._executor = ThreadPoolExecutor(engine.lanes, thread_name_prefix="engine")
        self._calls: set[asyncio.Future[Inference]] = set()

    async def infer(self, clips: Sequence[Clip]) -> Inference:
        """Classify a batch.

        Raises:
            EngineLostError: it said so, or did not return in time; its thread is given up.
            Exception: whatever the engine raised, EngineError for answers that are no probabilities.
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

    async def close(self, timeout_s: float) -> bool:
        """Wait for the batches in the engine; whether they ended in time."""
        self._executor.shutdown(wait=False)
        if not self._calls:
            return True
        _, late = await asyncio.wait(list(self._calls), timeout=timeout_s)
        return not late

    def _ended(self, call: asyncio.Future[Inference]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # of a batch that nobody waits for any more, asyncio would print it


def check_probabilities(inference: Inference, clips: int) -> None:
    """Raises EngineError unless there is a row for each clip and each sums to 1, which NaN does not."""
    if len(inference.probabilities) != clips:
        raise EngineError(f"the engine gave {len(inference.probabilities)} answers for {clips} clips")
    sums = inference.probabilities.sum(axis=1)
    if not np.allclose(sums, 1, atol=_PROBABILITY_SUM_TOLERANCE):
        raise EngineError(
            f"the engine's answers are no probabilities (they sum to {sums.tolist()})",
            help="export the model again; if it stays so, try --precision fp32",
        )
