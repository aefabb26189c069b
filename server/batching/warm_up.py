"""Warms an engine up with clips of noise, and makes the clip that later checks whether it still works."""

from __future__ import annotations

import time

import numpy as np

from engines.clip import Clip
from engines.engine import Engine
from server.batching.engine_threads import check_probabilities

# Each lane runs a batch three times: without a CUDA graph, while the graph is captured, and as that graph.
_WARM_UP_RUNS = 3
# After this time no further batch size is started. On a CPU often only one clip and the largest batch are run.
_MAX_WARM_UP_S = 5


def noise_clip(engine: Engine) -> Clip:
    """A clip of uint8 noise, the same on each call, that every working engine can classify."""
    frames = engine.allocate(240, 240)
    frames[:] = np.random.default_rng(0).integers(0, 256, frames.shape, np.uint8)
    return Clip(frames, "BGR")


def warm_up(engine: Engine) -> None:
    """Run batches of noise: one clip, the largest batch, then the sizes between; EngineError for wrong answers."""
    clip, max_batch, began_s = noise_clip(engine), engine.manifest.max_batch, time.monotonic()
    for batch in dict.fromkeys((1, max_batch, *range(2, max_batch))):
        if 1 < batch < max_batch and time.monotonic() - began_s > _MAX_WARM_UP_S:
            return
        # Consecutive batches use all lanes in turn, because an engine picks the lane that has been idle longest.
        for _ in range(_WARM_UP_RUNS * engine.lanes):
            inference = engine.infer([clip] * batch)
        check_probabilities(inference, batch)
