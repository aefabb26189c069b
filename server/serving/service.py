"""The service's state, and the engine that requests are given."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections.abc import Iterator

from engines.cores import usable_cores
from engines.engine import Model
from engines.errors import EngineLostError
from server.clips.decode_threads import DecodeThreads
from server.config.settings import Settings
from server.errors import NotReadyError
from server.limits.admission import Admission
from server.serving.deployment import Deployment
from server.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

# How long what cannot be waited for is waited for: clients that are still to be told that the engine is lost, a batch
# that is still in the engine after the drain.
CLOSE_TIMEOUT_S = 5
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

    def __init__(self, settings: Settings, metrics: Metrics, admission: Admission) -> None:
        self.settings = settings
        self.metrics = metrics
        self.admission = admission
        self.decode_threads = DecodeThreads(settings.decode_threads or min(usable_cores(), _MOST_DECODERS), "decode")
        self.lost: asyncio.Future[EngineLostError] = asyncio.get_running_loop().create_future()
        self._deployment: Deployment | None = None
        self._retired: set[asyncio.Task[None]] = set()
        self._accepting = False
        self._state = State.LOADING
        self.metrics.state(self._state.value)

    @property
    def state(self) -> State:
        return self._state

    @property
    def accepting(self) -> bool:
        """Whether work is still taken, which it is for a while after the service is not ready any more."""
        return self._accepting

    @property
    def deployment(self) -> Deployment | None:
        """What is in service, None until something is."""
        return self._deployment

    @property
    def model(self) -> Model | None:
        """The model in service; None until one is loaded."""
        return self._deployment.model if self._deployment else None

    def loaded(self) -> Model:
        """The model in service; raises NotReadyError until one is loaded."""
        if self._deployment is None:
            raise NotReadyError(f"the service is {self._state.value}", retry_after_s=_RETRY_S)
        return self._deployment.model

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

    def put(self, fresh: Deployment) -> None:
        """Serve with ``fresh`` from now on; what was in its place is closed when its last request is through."""
        old, self._deployment = self._deployment, fresh
        if old is not None:
            self._retire(old)
        if self._state is State.LOADING:
            self._set_state(State.READY)
            self._accepting = True

    def engine_lost(self, error: EngineLostError) -> None:
        """Take no more work, for good."""
        self._accepting = False
        self._set_state(State.UNHEALTHY)
        if not self.lost.done():
            self.lost.set_result(error)

    def start_draining(self, *, accepting: bool) -> None:
        """Not ready any more; ``accepting``: still taking what load balancers send until they have noticed."""
        self._accepting = self._accepting and accepting
        self._set_state(State.DRAINING)

    async def drain(self) -> None:
        """Take no more work, and wait for what was accepted, at most ``drain_timeout_s``."""
        self._accepting = False
        timeout_s = self.drain_timeout_s
        if self._deployment is not None and not await self._deployment.unused(timeout_s):
            _log.warning("requests were cut off", extra={"in_flight": self._deployment.users})
        if self._retired:
            await asyncio.wait(self._retired, timeout=timeout_s)

    @property
    def drain_timeout_s(self) -> float:
        """How long a drain that begins now may take."""
        return self.settings.drain_timeout_s if self._state is State.DRAINING else CLOSE_TIMEOUT_S

    async def close(self) -> None:
        """Give back the engine and the threads."""
        deployment, self._deployment = self._deployment, None
        if deployment is not None and self._state is not State.UNHEALTHY:
            await deployment.close(CLOSE_TIMEOUT_S)
        self.decode_threads.close()

    def _retire(self, old: Deployment) -> None:
        task = asyncio.create_task(self._close_unused(old), name="retire")
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    async def _close_unused(self, old: Deployment) -> None:
        await old.unused()
        # What is still in the engine then is for clients that have gone.
        await old.close(self.settings.engine_timeout_ms / 1e3)

    def _set_state(self, state: State) -> None:
        self._state = state
        self.metrics.state(state.value)
