"""Warms an engine up with clips of noise, and makes the clip that later checks whether it still works."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import numpy as np

from engines.clip import Clip
from engines.engine import Engine
from server.batching.engine_threads import EngineThreads

# A turn on the device during a block.
Turn = Callable[[], AbstractAsyncContextManager[None]]

_log = logging.getLogger(__name__)

# Each lane runs a batch three times: without a CUDA graph, while the graph is captured, and as that graph.
_WARM_UP_RUNS = 3
# After this time no further batch size is started on a CPU, where often only one clip and the largest batch are run.
_MAX_WARM_UP_S = 5


def noise_clip(engine: Engine) -> Clip:
    """A clip of uint8 noise, the same on each call, that every working engine can classify."""
    frames = engine.allocate(240, 240)
    frames[:] = np.random.default_rng(0).integers(0, 256, frames.shape, np.uint8)
    return Clip(frames, "BGR")


async def warm_up(engine: Engine, threads: EngineThreads, clip: Clip, turn: Turn) -> None:
    """Run batches of ``clip`` in the engine's own threads: one, the largest batch, then the sizes between.

    CUDA libraries prepare themselves for each thread, and each lane for each batch size: what is missing after the
    warm-up would be made up for while clients wait. Each run is a ``turn`` beside the engines of other models, except
    for the first ones of an engine that compiles, because those take long without using the device.

    Raises:
        EngineError: the engine failed, or the answers are not probabilities.
    """
    max_batch, began_s = engine.manifest.max_batch, time.monotonic()
    sizes = tuple(dict.fromkeys((1, max_batch, *range(2, max_batch))))
    for number, batch in enumerate(sizes, 1):
        late = time.monotonic() - began_s > _MAX_WARM_UP_S
        if late and 1 < batch < max_batch and not engine.compiles_each_batch:
            return
        for run in range(_WARM_UP_RUNS):
            compiles = engine.compiles_each_batch and run < _WARM_UP_RUNS - 1
            async with contextlib.nullcontext() if compiles else turn():
                await threads.infer_in_each([clip] * batch)
        if engine.compiles_each_batch:
            taken_s = round(time.monotonic() - began_s, 3)
            _log.info("warming up", extra={"batch": batch, "sizes": f"{number} of {len(sizes)}", "seconds": taken_s})
