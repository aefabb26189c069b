"""The service's state, and the engine that requests are given."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections.abc import Iterator

from aiohttp import web

from engines.cores import usable_cores
from engines.engine import Engine
from engines.errors import EngineLostError, NotReadyError
from server.admission import Admission
from server.deployment import Deployment, LoadEngine, deploy, load_bundle
from server.metrics import Metrics
from server.service_rate import ServiceRate
from server.settings import Settings
from server.workers import Workers

_log = logging.getLogger(__name__)

# How long what cannot be waited for is waited for: clients that are still to be told that the engine is lost, a batch
# that is still in the engine after the drain.
_FAREWELL_S = 5
_RETRY_S = 1
# A clip has 16 frames or so, and more threads than this rather wait for each other.
_MOST_DECODERS = 8


class State(enum.Enum):
    """As ``/health`` names them."""

    LOADING = "loading"
    READY = "healthy"
    DRAINING = "draining"
    UNHEALTHY = "unhealthy"


class Service:
    """Owns the engine in service and what bounds its use; handlers reach the engine only while it takes work."""

    def __init__(self, settings: Settings, load: LoadEngine = load_bundle) -> None:
        self.settings = settings
        self.metrics = Metrics(state.value for state in State)
        self.rate = ServiceRate()
        self.admission = Admission(settings.queue_size, settings.max_inflight_bytes, self.rate)
        self.decoders = Workers(settings.decode_threads or min(usable_cores(), _MOST_DECODERS), "decode")
        self.lost: asyncio.Future[EngineLostError] = asyncio.get_running_loop().create_future()
        self._load = load
        self._deployment: Deployment | None = None
        self._retired: set[asyncio.Task[None]] = set()
        self._accepting = False
        self._state = State.LOADING
        self.metrics.state(self._state.value)
        self._watch_gauges()

    @property
    def state(self) -> State:
        return self._state

    @property
    def engine(self) -> Engine | None:
        """The engine in service, None until one is."""
        return self._deployment.engine if self._deployment else None

    def loaded(self) -> Engine:
        """The engine in service, to ask what it is; raises NotReadyError until one is."""
        if self._deployment is None:
            raise NotReadyError(f"the service is {self._state.value}", retry_after_s=_RETRY_S)
        return self._deployment.engine

    def check_ready(self) -> None:
        """Raises NotReadyError unless load balancers should send work here."""
        if self._state is not State.READY:
            raise NotReadyError(f"the service is {self._state.value}", retry_after_s=_RETRY_S)

    @contextlib.contextmanager
    def accepted(self) -> Iterator[Deployment]:
        """The engine for one request, which a drain or a swap waits for; raises NotReadyError."""
        if not self._accepting or self._deployment is None:
            raise NotReadyError(f"the service is {self._state.value}", retry_after_s=_RETRY_S)
        with self._deployment.used() as deployment:
            yield deployment

    async def start(self) -> None:
        """Load and warm up; raises BundleError, EngineError when the bundle cannot be served."""
        self._deployment = await self._deploy()
        if self._state is State.LOADING:
            self._set_state(State.READY)
            self._accepting = True

    async def reload(self) -> None:
        """Put the bundle as it is now in the old engine's place, once it is warm; keep the old one if it is bad."""
        try:
            fresh = await self._deploy()
        except Exception as error:  # whatever a runtime makes of a bad bundle, the engine in service is a good one
            self.metrics.reloaded("kept")
            _log.error("reload failed, the old engine stays", extra={"error": str(error)})
            return
        old, self._deployment = self._deployment, fresh
        self.metrics.reloaded("swapped")
        _log.info("engine swapped", extra={"bundle": fresh.engine.manifest.name})
        if old is not None:
            self._retire(old)

    def start_draining(self) -> None:
        """Not ready any more, but still taking what load balancers send until they have noticed."""
        self._set_state(State.DRAINING)

    async def drain(self) -> None:
        """Take no more work, and wait for what was accepted, at most ``drain_timeout_s``."""
        self._accepting = False
        timeout_s = self.settings.drain_timeout_s if self._state is State.DRAINING else _FAREWELL_S
        if self._deployment is not None and not await self._deployment.unused(timeout_s):
            _log.warning("requests were cut off", extra={"in_flight": self._deployment.users})
        if self._retired:
            await asyncio.wait(self._retired, timeout=timeout_s)

    async def close(self) -> None:
        """Give back the engine and the threads."""
        deployment, self._deployment = self._deployment, None
        if deployment is not None and self._state is not State.UNHEALTHY:
            await deployment.close(_FAREWELL_S)
        self.decoders.close()

    def _retire(self, old: Deployment) -> None:
        task = asyncio.create_task(self._close_unused(old), name="retire")
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    async def _close_unused(self, old: Deployment) -> None:
        await old.unused()
        # What is still in the engine then is for clients that have gone.
        await old.close(self.settings.engine_timeout_ms / 1e3)

    async def _deploy(self) -> Deployment:
        return await deploy(self.settings, self._load, self.rate, self.metrics, self._engine_lost)

    def _engine_lost(self, error: EngineLostError) -> None:
        self._accepting = False
        self._set_state(State.UNHEALTHY)
        if not self.lost.done():
            self.lost.set_result(error)

    def _set_state(self, state: State) -> None:
        self._state = state
        self.metrics.state(state.value)

    def _watch_gauges(self) -> None:
        watch = self.metrics.watch
        watch("vjepa_queue_clips", "Clips that wait for the engine", self._waiting)
        watch("vjepa_admitted_clips", "Clips in decoding, queue and engine", lambda: self.admission.clips)
        watch("vjepa_inflight_bytes", "Bytes held of bodies and pixels", lambda: self.admission.held_bytes)
        watch("vjepa_seconds_per_clip", "Engine time for a clip", lambda: self.rate.seconds_per_clip)
        watch("vjepa_engines_serving", "Engines, one for each device, that take clips", self._serving)
        watch("vjepa_engines_lost", "Engines that were lost, while others go on", self._lost)

    def _waiting(self) -> float:
        return self._deployment.batcher.waiting if self._deployment else 0

    def _serving(self) -> float:
        return self._deployment.batcher.engines_serving if self._deployment else 0

    def _lost(self) -> float:
        return self._deployment.batcher.engines_lost if self._deployment else 0


SERVICE = web.AppKey("service", Service)
