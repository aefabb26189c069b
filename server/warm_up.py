"""The engine's first clips, and the one that tells later whether it still works."""

from __future__ import annotations

import numpy as np

from engines.clip import Clip
from engines.engine import Engine
from server.engine_thread import check_probabilities

_WARM_UP_RUNS = 3


def noise_clip(engine: Engine) -> Clip:
    """A clip of uint8 noise, always the same, that every working engine can classify."""
    frames = engine.allocate(240, 240)
    frames[:] = np.random.default_rng(0).integers(0, 256, frames.shape, np.uint8)
    return Clip(frames, "BGR")


def warm_up(engine: Engine) -> None:
    """Run the smallest and the largest batch on noise; raises EngineError when the answers are no probabilities."""
    clip = noise_clip(engine)
    for batch in sorted({1, engine.manifest.max_batch}):
        for _ in range(_WARM_UP_RUNS):
            inference = engine.infer([clip] * batch)
        check_probabilities(inference, batch)
