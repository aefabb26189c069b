"""Engines for the sections that measure them, and clips of noise for those."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from engines.clip import Clip
from engines.engine import Engine
from engines.options import EngineOptions
from engines.runtimes.registry import open_engine
from engines.storage.bundle import Bundle
from tests.gpu.setting import Setting, say


@contextlib.contextmanager
def running(chosen: Setting, name: str, bundle: Bundle, **options: Any) -> Iterator[Engine | None]:
    """The bundle's engine, or None, with the reason said, where it does not run."""
    try:
        engine = open_engine(bundle, EngineOptions(device=chosen.device, threads=chosen.threads, **options))
    except Exception as error:
        say(name, f"does not run: {error}")
        yield None
        return
    try:
        yield engine
    finally:
        engine.close()


def noise(engine: Engine, count: int, size: tuple[int, int]) -> list[Clip]:
    """Clips of uint8 noise in the engine's own memory; ``size``: height and width."""
    rng = np.random.default_rng(0)
    clips = []
    for _ in range(count):
        frames = engine.allocate(*size)
        frames[:] = rng.integers(0, 256, frames.shape, np.uint8)
        clips.append(Clip(frames, "BGR"))
    return clips


def clips_per_s(engine: Engine, clips: list[Clip], seconds: float) -> float:
    """With as many threads as the engine takes batches at once."""
    for _ in range(4 * engine.lanes):
        engine.infer(clips)
    began_s = time.perf_counter()
    counts = [0] * engine.lanes

    def ask(thread: int) -> None:
        while time.perf_counter() - began_s < seconds:
            engine.infer(clips)
            counts[thread] += len(clips)

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(engine.lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began_s)
