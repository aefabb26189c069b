"""The one thread that runs the engine, and the watch over it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from engines.clip import Clip
from engines.engine import Engine, Inference
from engines.errors import EngineError, EngineLostError

_PROBABILITY_SUM_TOLERANCE = 1e-2


class EngineThread:
    """Calls ``engine`` off the event loop, one batch at a time, and believes neither its silence nor its answers."""

    def __init__(self, engine: Engine, timeout_s: float) -> None:
        self._engine = engine
        self._timeout_s = timeout_s
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._call: asyncio.Future[Inference] | None = None

    async def infer(self, clips: Sequence[Clip]) -> Inference:
        """Classify a batch.

        Raises:
            EngineLostError: it said so, or did not return in time; its thread is given up.
            Exception: whatever the engine raised, EngineError for answers that are no probabilities.
        """
        call = asyncio.get_running_loop().run_in_executor(self._executor, self._engine.infer, clips)
        self._call = call
        await asyncio.wait([call], timeout=self._timeout_s)
        if not call.done():
            raise EngineLostError(f"the engine did not return within {self._timeout_s:g} s")
        inference = call.result()
        check_probabilities(inference, len(clips))
        return inference

    async def close(self, timeout_s: float) -> bool:
        """Wait for the batch in the engine; whether it ended in time."""
        self._executor.shutdown(wait=False)
        if self._call is not None:
            await asyncio.wait([self._call], timeout=timeout_s)
        return self._call is None or self._call.done()


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
