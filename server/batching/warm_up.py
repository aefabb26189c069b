"""The engine's first clips, and the one that tells later whether it still works."""

from __future__ import annotations

import time

import numpy as np

from engines.clip import Clip
from engines.engine import Engine
from server.batching.engine_threads import check_probabilities

# Each lane sees a batch so often: plainly, captured as a graph, as that graph.
_WARM_UP_RUNS = 3
# No more sizes of batch are begun after so long; on a CPU, one and the largest will have to do.
_LONGEST_S = 5


def noise_clip(engine: Engine) -> Clip:
    """A clip of uint8 noise, always the same, that every working engine can classify."""
    frames = engine.allocate(240, 240)
    frames[:] = np.random.default_rng(0).integers(0, 256, frames.shape, np.uint8)
    return Clip(frames, "BGR")


def warm_up(engine: Engine) -> None:
    """Run batches of noise, one clip, the most, and what lies between; raises EngineError for wrong answers."""
    clip, most, began_s = noise_clip(engine), engine.manifest.max_batch, time.monotonic()
    for batch in dict.fromkeys((1, most, *range(2, most))):
        if 1 < batch < most and time.monotonic() - began_s > _LONGEST_S:
            return
        # One after the other goes through all lanes, because the one that has waited longest is next.
        for _ in range(_WARM_UP_RUNS * engine.lanes):
            inference = engine.infer([clip] * batch)
        check_probabilities(inference, batch)
