"""An engine in service: its batcher, and who still uses it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engines.engine import Engine, Model
from engines.errors import EngineLostError
from engines.options import EngineOptions
from engines.runtimes.registry import load_engine
from engines.storage.bundle import open_bundle
from server.batching.batcher import Batcher
from server.batching.warm_up import warm_up
from server.config.settings import Settings
from server.limits.throughput import Throughput
from server.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

# Makes an engine of a bundle directory; raises BundleError or EngineError.
LoadEngine = Callable[[Path, EngineOptions], Engine]


def load_bundle(path: Path, options: EngineOptions) -> Engine:
    """The engine of the bundle in ``path`` once it is checked; see ``open_bundle`` and ``load_engine``."""
    return load_engine(open_bundle(path), options)


class Deployment:
    """Made by ``deploy``; closed once, when nobody is given it any more."""

    def __init__(self, model: Model, batcher: Batcher) -> None:
        """``model`` says what is served, and has the memory that clips are decoded into."""
        self.model = model
        self.batcher = batcher
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @property
    def users(self) -> int:
        """Requests that are being read, decoded, classified or answered with this engine."""
        return self._users

    @contextlib.contextmanager
    def used(self) -> Iterator[Deployment]:
        """``unused`` waits for the block to end."""
        self._users += 1
        self._unused.clear()
        try:
            yield self
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def unused(self, timeout_s: float | None = None) -> bool:
        """Whether the last request was through in time; waits for it without ``timeout_s``."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._unused.wait(), timeout_s)
        return not self._users

    async def close(self, timeout_s: float) -> None:
        """Stop the batcher and give the engines' memory back; not that of one that is still at work after that time."""
        came_back = await self.batcher.stop(timeout_s)
        for engine in came_back:
            engine.close()
        if len(came_back) < self.batcher.engines_serving:
            _log.error("an engine is left behind, still at work")


async def deploy(
    settings: Settings,
    load: LoadEngine,
    rate: Throughput,
    metrics: Metrics,
    on_lost: Callable[[EngineLostError], None],
) -> Deployment:
    """Load and warm up the engines, one for each device, and start the batcher before them.

    Raises:
        BundleError, EngineError, ConfigurationError: it cannot be served; nothing is left running.
    """
    started_s = time.perf_counter()
    engines = await _loaded(settings, load)
    batcher = Batcher(engines, settings.engine_timeout_ms / 1e3, rate, metrics, settings.batch_wait_ms / 1e3)
    batcher.start(on_lost)
    metrics.engine.info({name: str(value) for name, value in _described(engines).items()})
    _log.info("engine ready", extra=_described(engines) | {"load_s": round(time.perf_counter() - started_s, 3)})
    return Deployment(engines[0], batcher)


async def _loaded(settings: Settings, load: LoadEngine) -> list[Engine]:
    """In a thread that nobody joins, because a bundle on a dead disk may never load."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="load")
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, _load_and_warm_up, settings, load)
    finally:
        executor.shutdown(wait=False)


def _load_and_warm_up(settings: Settings, load: LoadEngine) -> list[Engine]:
    with contextlib.ExitStack() as undo:
        engines: list[Engine] = []
        for options in settings.engines():
            engines.append(load(settings.bundle, options))
            undo.callback(engines[-1].close)
            warm_up(engines[-1])
        undo.pop_all()
        return engines


def _described(engines: list[Engine]) -> dict[str, object]:
    engine, manifest = engines[0], engines[0].manifest
    return {
        "model": manifest.source.model,
        "bundle": manifest.name,
        "target": manifest.target,
        "precision": engine.precision,
        "device": ", ".join(engine.device_name for engine in engines),
        "lanes": engine.lanes,
        "labels": len(manifest.labels),
        "random_weights": manifest.source.random_weights,
    }
