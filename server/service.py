"""The engine's life inside the server: loading, warmed up, serving, draining."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from engines.bundle import open_bundle
from engines.clip import Clip
from engines.engine import Engine
from engines.errors import EngineError, NotReadyError
from engines.runtimes import load_engine
from server.batcher import Batcher
from server.settings import Settings

_log = logging.getLogger(__name__)

_WARM_UP_RUNS = 3
_PROBABILITY_SUM_TOLERANCE = 1e-2


class State(enum.Enum):
    """As ``/health`` names them."""

    LOADING = "loading"
    READY = "healthy"
    DRAINING = "draining"
    UNHEALTHY = "unhealthy"


class Service:
    """Owns the engine, its batcher and the decoding threads; handlers reach them only while it is ready."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state = State.LOADING
        self.decoders = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode")
        self._engine: Engine | None = None
        self._batcher: Batcher | None = None
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def engine(self) -> Engine | None:
        """The loaded engine, None until it is."""
        return self._engine

    def ready(self) -> tuple[Engine, Batcher]:
        """The engine and its batcher; raises NotReadyError unless the service takes work."""
        if self.state is not State.READY or self._engine is None or self._batcher is None:
            raise NotReadyError(f"the service is {self.state.value}", retry_after_s=1)
        return self._engine, self._batcher

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load, warm up, and be ready while the context is open.

        Raises:
            BundleError, EngineError: the bundle cannot be served; nothing is left running.
        """
        started_s = time.perf_counter()
        engine = await asyncio.to_thread(self._load)
        try:
            async with Batcher(engine, self.settings.queue_size).running() as self._batcher:
                self._engine, self.state = engine, State.READY
                _log.info("engine ready", extra=_described(engine, time.perf_counter() - started_s))
                yield
        finally:
            self._engine = self._batcher = None
            engine.close()
            self.decoders.shutdown(cancel_futures=True)

    @contextlib.contextmanager
    def accepted(self) -> Iterator[tuple[Engine, Batcher]]:
        """As ``ready``; a drain waits for the block to end."""
        engine_and_batcher = self.ready()
        self._in_flight += 1
        self._idle.clear()
        try:
            yield engine_and_batcher
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def drain(self) -> None:
        """Take no more work, and wait for what was accepted, at most ``drain_timeout_s``."""
        self.state = State.DRAINING
        try:
            await asyncio.wait_for(self._idle.wait(), self.settings.drain_timeout_s)
        except TimeoutError:
            _log.warning("requests were cut off", extra={"in_flight": self._in_flight})

    def _load(self) -> Engine:
        engine = load_engine(open_bundle(self.settings.bundle), threads=self.settings.threads)
        warm_up(engine)
        return engine


def warm_up(engine: Engine) -> None:
    """Run the smallest and the largest batch on noise; raises EngineError when the answers are no probabilities."""
    noise = np.random.default_rng(0)
    frames = engine.allocate(240, 240)
    frames[:] = noise.integers(0, 256, frames.shape, np.uint8)
    for batch in sorted({1, engine.manifest.max_batch}):
        for _ in range(_WARM_UP_RUNS):
            probabilities = engine.infer([Clip(frames, "BGR")] * batch).probabilities
        sums = probabilities.sum(axis=1)
        if not np.allclose(sums, 1, atol=_PROBABILITY_SUM_TOLERANCE):
            raise EngineError(
                f"the engine's warm-up answers are no probabilities (they sum to {sums.tolist()})",
                help="export the model again; if it stays so, try --precision fp32",
            )


def _described(engine: Engine, seconds: float) -> dict[str, object]:
    manifest = engine.manifest
    return {
        "model": manifest.source.model,
        "bundle": manifest.name,
        "target": manifest.target,
        "precision": engine.precision,
        "device": engine.device_name,
        "labels": len(manifest.labels),
        "random_weights": manifest.source.random_weights,
        "load_s": round(seconds, 3),
    }
