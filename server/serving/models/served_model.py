"""One model of the service under its name: its deployment, its slots, its figures and its swaps."""

from __future__ import annotations

import asyncio
import enum

from engines.engine import Model
from server.batching.device_turns import Devices, ModelShares
from server.clips.decode_threads import DecodeThreads
from server.config.model_sources import ModelSource
from server.config.settings import Settings
from server.errors import NotReadyError
from server.limits.admission import Admission
from server.limits.throughput import Throughput
from server.serving.deployment import CLOSE_TIMEOUT_S, Deployment
from server.serving.fingerprint import Fingerprint
from server.serving.recent_clips import RecentClips
from server.serving.swap_comparison import SwapComparison
from server.telemetry.metrics import Metrics

_RETRY_S = 1


class ModelState(enum.Enum):
    """The states of a model, by the names that Triton has for them."""

    LOADING = "LOADING"
    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"


class ServedModel:
    """The model of ``source`` until the end of the process; it may be unloaded and loaded again.

    Invariants: all attributes belong to the event loop. A deployment is in service if and only if the state is READY.
    ``reason`` says why it is UNAVAILABLE; ``is_wanted`` is False while that is what the operator asked for.
    ``_retired`` holds one task for each deployment that was replaced or unloaded and is not closed yet. ``files`` are
    those that were loaded last, or tried.
    """

    def __init__(
        self,
        source: ModelSource,
        settings: Settings,
        metrics: Metrics,
        admission: Admission,
        threads: DecodeThreads,
        devices: Devices,
    ) -> None:
        self.source = source
        self.metrics = metrics.of_model(source.name)
        self.throughput = Throughput()
        self.slots = admission.of_model(self.throughput)
        self.recent_clips = RecentClips(settings.swap_clips, threads)
        self.shares = ModelShares(devices, source.weight)
        self.swap = SwapComparison()
        self.files: Fingerprint = ()
        self.reason = ""
        self.is_wanted = True
        self._engine_timeout_s = settings.engine_timeout_ms / 1e3
        self._deployment: Deployment | None = None
        self._retired: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """The name in requests and metrics."""
        return self.source.name

    @property
    def protocol_name(self) -> str:
        """The name under ``/v2``, which is the bundle's own for the only model that was given no name."""
        model = self.model if self.source.is_only else None
        return model.manifest.name if model else self.name

    @property
    def state(self) -> ModelState:
        if self._deployment is not None:
            return ModelState.READY
        return ModelState.UNAVAILABLE if self.reason else ModelState.LOADING

    @property
    def deployment(self) -> Deployment | None:
        """The deployment in service; None while there is none."""
        return self._deployment

    @property
    def model(self) -> Model | None:
        """The model in service; None while there is none."""
        return self._deployment.model if self._deployment else None

    @property
    def features_identity(self) -> str | None:
        """What heads have to be taught on to fit the model in service."""
        return self._deployment.features_identity if self._deployment else None

    def deployed(self) -> Deployment:
        """The deployment in service; raises NotReadyError."""
        if self._deployment is None:
            # Why is for the operator: the log and the index of the repository say it, which may name files.
            told = f"the model {self.protocol_name} is {self.state.value.lower()}"
            raise NotReadyError(told, retry_after_s=_RETRY_S)
        return self._deployment

    def put(self, fresh: Deployment) -> None:
        """Serve with ``fresh`` from now on; the old deployment is closed after its last request."""
        self._retire()
        fresh.in_service = True
        self._deployment, self.reason, self.is_wanted = fresh, "", True
        self.metrics.engine(fresh.description)

    def withdraw(self, reason: str) -> None:
        """Serve no more; the deployment is closed after its last request."""
        self.reason = reason
        if self._retire():
            self.metrics.no_engine()

    async def unused(self, timeout_s: float) -> int:
        """Wait until no request uses the model, at most ``timeout_s``; returns the number of those that still do."""
        deployment = self._deployment
        cut_off = 0 if deployment is None or await deployment.unused(timeout_s) else deployment.users
        if self._retired:
            await asyncio.wait(self._retired, timeout=timeout_s)
        return cut_off

    async def close(self) -> None:
        """Close the deployment, whoever uses it."""
        deployment, self._deployment = self._deployment, None
        if deployment is not None:
            await deployment.close(CLOSE_TIMEOUT_S)

    def _retire(self) -> bool:
        old, self._deployment = self._deployment, None
        if old is None:
            return False
        task = asyncio.create_task(self._close_unused(old), name="retire")
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)
        return True

    async def _close_unused(self, old: Deployment) -> None:
        await old.unused()
        # A batch that is still in the engine after that belongs to clients that have gone.
        await old.close(self._engine_timeout_s)
