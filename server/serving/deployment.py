"""A loaded model in service: its engines behind their batcher, and the number of requests that use it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engines.engine import Engine, Model
from engines.errors import EngineLostError
from engines.options import EngineOptions
from engines.runtimes.registry import load_engine
from engines.storage.pinned import opened
from engines.storage.reference import Reference
from engines.storage.verification import reference_in
from server.batching.batcher import Batcher
from server.batching.device_turns import ModelShares
from server.config.model_sources import ModelSource
from server.config.settings import Settings
from server.limits.throughput import Throughput
from server.serving.canary import Canary
from server.serving.use_count import UseCount
from server.telemetry.model_metrics import ModelMetrics

_log = logging.getLogger(__name__)

# The most seconds to wait for what may never end: a batch that is still in the engine when its deployment is closed,
# and at a stop also clients that are still to be told that the engine is lost.
CLOSE_TIMEOUT_S = 5

# Loads an engine from a bundle directory; raises BundleError or EngineError.
LoadEngine = Callable[[Path, EngineOptions], Engine]


def load_bundle(path: Path, options: EngineOptions) -> Engine:
    """Check the bundle in ``path`` and load its engine; see ``opened`` and ``load_engine`` for the errors."""
    with opened(path, options.bundle_sha256) as bundle:
        return load_engine(bundle, options)


class Deployment:
    """One loaded model, from ``deploy`` to ``close``.

    Invariants: all attributes belong to the event loop. ``close`` is called once, after the service has stopped to give
    the deployment to new requests.
    """

    def __init__(
        self,
        model: Model,
        batcher: Batcher,
        description: dict[str, object],
        reference: Reference | None,
        canary: Canary | None,
    ) -> None:
        """``model`` is what is served; it allocates the memory into which clips are decoded.

        ``description``: for the log and the metrics. ``reference``: the clips that its bundle carries; ``canary``
        checks the engines with them. ``in_service`` becomes True when the service first gives it to requests.
        """
        self.model = model
        self.batcher = batcher
        self.description = description
        self.reference = reference
        self.in_service = False
        self._canary = canary
        self._uses = UseCount()

    @functools.cached_property
    def features_identity(self) -> str | None:
        """What heads have to be taught on to fit; None for a bundle without features."""
        return self.model.manifest.features_identity()

    @property
    def users(self) -> int:
        """Number of requests that use this deployment, from the reading of their body to the answer."""
        return self._uses.users

    @property
    def reserved_mib(self) -> int:
        """Memory of devices that the engines have reserved."""
        shares = (instance.engine.share for instance in self.batcher.instances)
        return sum(share.reserved_mib for share in shares if share is not None)

    @contextlib.contextmanager
    def used(self) -> Iterator[Deployment]:
        """Count the block as a user, so that ``unused`` waits for its end."""
        with self._uses.used():
            yield self

    async def unused(self, timeout_s: float | None = None) -> bool:
        """Wait until no request uses the deployment; return False after ``timeout_s`` (None: no limit)."""
        return await self._uses.unused(timeout_s)

    async def close(self, timeout_s: float) -> None:
        """Stop the batcher and close the engines; an engine that still computes after ``timeout_s`` stays open."""
        if self._canary is not None:
            await self._canary.stop()
        finished = await self.batcher.stop(timeout_s)
        for engine in finished:
            # In a thread, because it waits until no other engine captures a CUDA graph.
            await asyncio.to_thread(engine.close)
        if len(finished) < self.batcher.engines_serving:
            _log.error("an engine is left behind, still at work")


async def deploy(
    settings: Settings,
    source: ModelSource,
    load: LoadEngine,
    throughput: Throughput,
    metrics: ModelMetrics,
    shares: ModelShares,
    on_lost: Callable[[Deployment, EngineLostError], None],
) -> Deployment:
    """Load and warm up the engines of ``source``, one for each device, and start their batcher.

    Raises:
        BundleError, EngineError, ConfigurationError: the bundle cannot be served; all engines are closed again.
    """
    started_s = time.perf_counter()
    engines, reference = await _load_in_thread(settings, source.path, load)
    timeout_s, wait_s = settings.engine_timeout_ms / 1e3, settings.batch_wait_ms / 1e3
    batcher = Batcher(engines, timeout_s, throughput, metrics, wait_s, shares)
    await _warm_up(batcher)
    for engine in engines:
        if engine.share is not None:
            engine.share.take_turns()
    canary = _canary(settings, batcher, reference, metrics)
    deployment = Deployment(engines[0], batcher, _description(engines), reference, canary)
    batcher.start(lambda error: on_lost(deployment, error))
    _log.info(
        "engine ready",
        extra={"served_as": source.name}
        | deployment.description
        | {"load_s": round(time.perf_counter() - started_s, 3)},
    )
    return deployment


def _canary(settings: Settings, batcher: Batcher, reference: Reference | None, metrics: ModelMetrics) -> Canary | None:
    if not settings.canary_s:
        return None
    if reference is None:
        _log.warning("the engine is not checked while it serves, because its bundle carries no reference clips")
        return None
    canary = Canary(batcher, reference, settings.canary_s, metrics)
    canary.start()
    return canary


async def _load_in_thread(settings: Settings, path: Path, load: LoadEngine) -> tuple[list[Engine], Reference | None]:
    """Load in a thread that is never joined, because a bundle on a broken disk may never finish loading."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="load")
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, _load_all, settings, path, load)
    finally:
        executor.shutdown(wait=False)


def _load_all(settings: Settings, path: Path, load: LoadEngine) -> tuple[list[Engine], Reference | None]:
    with contextlib.ExitStack() as undo:
        engines: list[Engine] = []
        for options in settings.engines():
            engines.append(load(path, options))
            undo.callback(engines[-1].close)
        reference = reference_in(path, engines[0].manifest)
        undo.pop_all()
        return engines, reference


async def _warm_up(batcher: Batcher) -> None:
    """Warm the engines up, and close those that can be closed if that fails or is cancelled."""
    try:
        await batcher.warm_up()
    except BaseException:
        for engine in await batcher.stop(CLOSE_TIMEOUT_S):
            await asyncio.to_thread(engine.close)
        raise


def _description(engines: list[Engine]) -> dict[str, object]:
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
        **({"ignored": manifest.source.ignores()} if manifest.source.ignored else {}),
    }
