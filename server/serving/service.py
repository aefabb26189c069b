"""The state of the service, and the deployment that it gives to requests."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections.abc import Iterator, Mapping

from engines.cores import usable_cores
from engines.engine import Model
from engines.errors import EngineLostError
from engines.linear_heads.head import Head
from server.clips.decode_threads import DecodeThreads
from server.config.settings import Settings
from server.errors import NotReadyError
from server.limits.admission import Admission
from server.serving.deployment import CLOSE_TIMEOUT_S, Deployment
from server.serving.heads import Heads
from server.serving.recent_clips import RecentClips
from server.serving.use_count import UseCount
from server.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)

_RETRY_S = 1
# A clip has about 16 frames; more threads than this mostly wait for each other.
_MAX_DECODE_THREADS = 8


class State(enum.Enum):
    """The states of the service; the values are those that ``/health`` reports."""

    LOADING = "loading"
    READY = "healthy"
    DRAINING = "draining"
    UNHEALTHY = "unhealthy"


class Service:
    """Owns the deployment, the decode threads and the state; requests get the deployment only while work is accepted.

    LOADING becomes READY with the first deployment, and LOADING or READY becomes DRAINING by ``start_draining``. Any
    state becomes UNHEALTHY, and stays so, when a deployment (also a replaced one) loses its last engine. A
    deployment that was never put in service changes nothing.

    Invariants: all attributes belong to the event loop. ``_accepting`` becomes True once, with READY, and False once,
    in ``start_draining``, ``drain`` or ``engine_lost``. ``lost`` is done if and only if the state is UNHEALTHY.
    ``_retired`` holds one task for each replaced deployment that is not closed yet.
    """

    def __init__(self, settings: Settings, metrics: Metrics, admission: Admission) -> None:
        self.settings = settings
        self.metrics = metrics
        self.admission = admission
        self.decode_threads = DecodeThreads(
            settings.decode_threads or min(usable_cores(), _MAX_DECODE_THREADS),
            "decode",
            settings.decode_timeout_ms / 1e3,
        )
        self.heads = Heads(settings.heads)
        # Heads that were taught and are not kept yet, by the names under which streams may ask for them.
        self.drafts: dict[str, Head] = {}
        self.recent_clips = RecentClips(settings.swap_clips, self.decode_threads)
        self.lost: asyncio.Future[EngineLostError] = asyncio.get_running_loop().create_future()
        self.draining = asyncio.Event()
        # The open streams, for whose end a drain waits; ``draining`` tells them to end.
        self.streams = UseCount()
        self._deployment: Deployment | None = None
        self._retired: set[asyncio.Task[None]] = set()
        self._accepting = False
        self._state = State.LOADING
        self.metrics.state(self._state.value)

    @property
    def state(self) -> State:
        return self._state

    @property
    def health(self) -> State:
        """The state as ``/health`` reports it: a service without a decode thread is UNHEALTHY until it has one."""
        threads = self.decode_threads
        return State.UNHEALTHY if self._state is State.READY and threads.stuck == threads.count else self._state

    @property
    def accepting(self) -> bool:
        """Whether requests are still accepted; with a drain delay this remains true for a while after READY."""
        return self._accepting

    @property
    def deployment(self) -> Deployment | None:
        """The deployment in service; None until one is loaded."""
        return self._deployment

    @property
    def model(self) -> Model | None:
        """The model in service; None until one is loaded."""
        return self._deployment.model if self._deployment else None

    def fitting_heads(self) -> Mapping[str, Head]:
        """The heads, by name, that fit the model in service."""
        return self.heads.fitting(self._deployment.features_identity if self._deployment else None)

    def heads_for(self, features_identity: str | None, asked: str | None) -> Mapping[str, Head]:
        """The heads that fit features of that identity, and the draft that is ``asked`` for by its name."""
        fitting, draft = self.heads.fitting(features_identity), self.drafts.get(asked or "")
        if draft is None or draft.manifest.features != features_identity:
            return fitting
        return {**fitting, str(asked): draft}

    def loaded(self) -> Model:
        """The model in service; raises NotReadyError until one is loaded."""
        if self._deployment is None:
            raise NotReadyError(f"the service is {self._state.value}", retry_after_s=_RETRY_S)
        return self._deployment.model

    def check_ready(self) -> None:
        """Raises NotReadyError unless the state is READY and a decode thread is left."""
        if self._state is not State.READY:
            raise NotReadyError(f"the service is {self._state.value}", retry_after_s=_RETRY_S)
        self.decode_threads.check()

    @contextlib.contextmanager
    def accepted(self, *, begun: bool = False) -> Iterator[Deployment]:
        """The deployment for one request; a drain or a swap waits for the block. Raises NotReadyError.

        ``begun``: the block belongs to work that was accepted before, which a drain still lets through.
        """
        finishes = begun and self._state is not State.UNHEALTHY
        if not (self._accepting or finishes) or self._deployment is None:
            raise NotReadyError(f"the service is {self._state.value}", retry_after_s=_RETRY_S)
        with self._deployment.used() as deployment:
            yield deployment

    def put(self, fresh: Deployment) -> None:
        """Serve with ``fresh`` from now on; the old deployment is closed after its last request."""
        fresh.in_service = True
        old, self._deployment = self._deployment, fresh
        self.heads.tell_fitting(fresh.features_identity, fresh.model.manifest)
        if old is not None:
            self._retire(old)
        if self._state is State.LOADING:
            self._set_state(State.READY)
            self._accepting = True

    def engine_lost(self, deployment: Deployment, error: EngineLostError) -> None:
        """Refuse all further requests, because ``deployment``, which serves or has served, lost its last engine."""
        if not deployment.in_service:
            return
        self._accepting = False
        self._set_state(State.UNHEALTHY)
        if not self.lost.done():
            self.lost.set_result(error)

    def start_draining(self, *, accepting: bool) -> None:
        """Report DRAINING; with ``accepting``, still accept requests until load balancers have noticed."""
        self._accepting = self._accepting and accepting
        self.draining.set()
        self._set_state(State.DRAINING)

    async def drain(self) -> None:
        """Accept no more requests, and wait at most ``drain_timeout_s`` for those that were accepted."""
        timeout_s = self.drain_timeout_s
        # Streams first, because their last windows still have to be accepted.
        self.draining.set()
        await self.streams.unused(timeout_s)
        self._accepting = False
        if self._deployment is not None and not await self._deployment.unused(timeout_s):
            _log.warning("requests were cut off", extra={"in_flight": self._deployment.users})
        if self._retired:
            await asyncio.wait(self._retired, timeout=timeout_s)

    @property
    def drain_timeout_s(self) -> float:
        """The most seconds that a drain may take if it begins now."""
        return self.settings.drain_timeout_s if self._state is State.DRAINING else CLOSE_TIMEOUT_S

    async def close(self) -> None:
        """Close the deployment, except after an engine loss, and stop the decode threads."""
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
        # A batch that is still in the engine after that belongs to clients that have gone.
        await old.close(self.settings.engine_timeout_ms / 1e3)

    def _set_state(self, state: State) -> None:
        self._state = state
        self.metrics.state(state.value)
