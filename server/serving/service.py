"""The state of the service, and the deployments that it gives to requests."""

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
from server.batching.device_turns import Devices
from server.clips.decode_threads import DecodeThreads
from server.config.model_sources import ModelSource
from server.config.settings import Settings
from server.errors import NotReadyError
from server.limits.admission import Admission
from server.serving.deployment import CLOSE_TIMEOUT_S, Deployment
from server.serving.heads import Heads
from server.serving.models.gauges import watch_model
from server.serving.models.registry import Registry
from server.serving.models.served_model import ServedModel
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
    """Owns the models, the decode threads and the state; requests get a deployment only while work is accepted.

    LOADING becomes READY when the models are in service, and LOADING or READY becomes DRAINING by ``start_draining``.
    Any state becomes UNHEALTHY, and stays so, when the last model loses its last engine (also that of a deployment that
    was replaced). A deployment that was never put in service changes nothing.

    Invariants: all attributes belong to the event loop. ``_accepting`` becomes True once, with READY, and False once,
    in ``start_draining``, ``drain`` or ``engine_lost``. ``lost`` is done if and only if the state is UNHEALTHY.
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
        self._devices = Devices()
        self.models = Registry(settings.models, self._new_model)
        self.lost: asyncio.Future[EngineLostError] = asyncio.get_running_loop().create_future()
        self.draining = asyncio.Event()
        # The open streams, for whose end a drain waits; ``draining`` tells them to end.
        self.streams = UseCount()
        # Requests whose body has to tell the model.
        self._undecided = UseCount()
        self._accepting = False
        self._state = State.LOADING
        self._checking: asyncio.Task[None] | None = None
        self.metrics.state(self._state.value)

    @property
    def state(self) -> State:
        return self._state

    @property
    def health(self) -> State:
        """The state as ``/health`` reports it: UNHEALTHY without a decode thread, or without any model."""
        threads = self.decode_threads
        serves = threads.stuck < threads.count and self.models.ready()
        return State.UNHEALTHY if self._state is State.READY and not serves else self._state

    @property
    def accepting(self) -> bool:
        """Whether requests are still accepted; with a drain delay this remains true for a while after READY."""
        return self._accepting

    def fitting_heads(self, model: ServedModel) -> Mapping[str, Head]:
        """The heads, by name, that fit ``model`` as it is in service."""
        return self.heads.fitting(model.features_identity)

    def loaded(self, model: ServedModel | None = None) -> Model:
        """``model`` in service, None for the default or, while that is not, the first; raises NotReadyError."""
        if self._state is State.LOADING:
            raise self._not_ready()
        if model is None:
            default = self.models.default
            model = next(iter(self.models.ready()), default) if default.model is None else default
        return model.deployed().model

    def heads_for(self, features_identity: str | None, asked: str | None) -> Mapping[str, Head]:
        """The heads that fit features of that identity, and the draft that is ``asked`` for by its name."""
        fitting, draft = self.heads.fitting(features_identity), self.drafts.get(asked or "")
        if draft is None or draft.manifest.features != features_identity:
            return fitting
        return {**fitting, str(asked): draft}

    def check_ready(self, model: ServedModel | None = None) -> None:
        """Raises NotReadyError unless the state is READY, a decode thread is left, and ``model`` or any is served."""
        if self._state is not State.READY:
            raise self._not_ready()
        self.decode_threads.check()
        self.loaded(model)

    @contextlib.contextmanager
    def accepted(self, model: ServedModel, *, begun: bool = False) -> Iterator[Deployment]:
        """The deployment of ``model`` for one request; a drain or a swap waits for the block. Raises NotReadyError.

        ``begun``: the block belongs to work that was accepted before, which a drain still lets through.
        """
        self.check_accepting(begun=begun)
        with model.deployed().used() as deployment:
            yield deployment

    @contextlib.contextmanager
    def undecided(self) -> Iterator[None]:
        """Accept a request whose body has to tell the model; a drain waits for the block. Raises NotReadyError."""
        self.check_accepting()
        with self._undecided.used():
            yield

    def check_accepting(self, *, begun: bool = False) -> None:
        """Raises NotReadyError unless requests are accepted, or for work that has ``begun``, are still let through."""
        if not (self._accepting or (begun and self._state is not State.UNHEALTHY)):
            raise self._not_ready()

    def put(self, model: ServedModel, fresh: Deployment) -> None:
        """Serve ``model`` with ``fresh`` from now on; the old deployment is closed after its last request."""
        model.put(fresh)
        self.heads.tell_fitting(fresh.features_identity, fresh.model.manifest)
        if self._state is State.LOADING:
            self._set_state(State.READY)
            self._accepting = True

    def engine_lost(self, model: ServedModel, deployment: Deployment, error: EngineLostError) -> None:
        """Refuse further requests for ``model``, because ``deployment`` of it, now or before, lost its last engine.

        Without another model all requests are refused.
        """
        if not deployment.in_service:
            return
        others = [other for other in self.models.ready() if other is not model]
        if others:
            model.withdraw(str(error))
            _log.error("a model is lost, the others go on", extra={"model": model.name, "error": str(error)})
            # If the device is lost as well, clients should not be those who find out.
            self._checking = asyncio.create_task(_check_engines(others), name="check engines")
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
        await self._undecided.unused(timeout_s)
        cut_off = sum(await asyncio.gather(*(model.unused(timeout_s) for model in self.models)))
        if cut_off:
            _log.warning("requests were cut off", extra={"in_flight": cut_off})

    @property
    def drain_timeout_s(self) -> float:
        """The most seconds that a drain may take if it begins now."""
        return self.settings.drain_timeout_s if self._state is State.DRAINING else CLOSE_TIMEOUT_S

    async def close(self) -> None:
        """Close the deployments, except after an engine loss, and stop the decode threads."""
        if self._state is not State.UNHEALTHY:
            for model in self.models:
                await model.close()
        self.decode_threads.close()

    def _new_model(self, source: ModelSource) -> ServedModel:
        model = ServedModel(source, self.settings, self.metrics, self.admission, self.decode_threads, self._devices)
        watch_model(model, self.heads)
        return model

    def _not_ready(self) -> NotReadyError:
        return NotReadyError(f"the service is {self._state.value}", retry_after_s=_RETRY_S)

    def _set_state(self, state: State) -> None:
        self._state = state
        self.metrics.state(state.value)


async def _check_engines(models: list[ServedModel]) -> None:
    """Have each engine of ``models`` classify a clip at once; one that cannot is lost."""
    batchers = [model.deployment.batcher for model in models if model.deployment]
    await asyncio.gather(*(batcher.check_all() for batcher in batchers))
