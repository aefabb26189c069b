"""Puts the bundle's engine in service, and later its successor."""

from __future__ import annotations

import logging

from server.limits.throughput import Throughput
from server.serving.deployment import Deployment, LoadEngine, deploy
from server.serving.service import Service
from server.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)


class Loader:
    """Loads for ``service``."""

    def __init__(self, service: Service, load: LoadEngine, rate: Throughput, metrics: Metrics) -> None:
        self._service = service
        self._load = load
        self._rate = rate
        self._metrics = metrics
        self._watch_gauges()

    async def start(self) -> None:
        """Load and warm up; raises BundleError, EngineError when the bundle cannot be served."""
        self._service.put(await self._deploy())

    async def reload(self) -> None:
        """Put the bundle as it is now in the old engine's place, once it is warm; keep the old one if it is bad."""
        try:
            fresh = await self._deploy()
        except Exception as error:  # whatever a runtime makes of a bad bundle, the engine in service is a good one
            self._metrics.reloaded("kept")
            _log.error("reload failed, the old engine stays", extra={"error": str(error)})
            return
        self._service.put(fresh)
        self._metrics.reloaded("swapped")
        _log.info("engine swapped", extra={"bundle": fresh.model.manifest.name})

    async def _deploy(self) -> Deployment:
        service = self._service
        return await deploy(service.settings, self._load, self._rate, self._metrics, service.engine_lost)

    def _watch_gauges(self) -> None:
        watch, admission = self._metrics.watch, self._service.admission
        watch("vjepa_queue_clips", "Clips that wait for the engine", self._waiting)
        watch("vjepa_admitted_clips", "Clips in decoding, queue and engine", lambda: admission.clips)
        watch("vjepa_inflight_bytes", "Bytes held of bodies and pixels", lambda: admission.held_bytes)
        watch("vjepa_seconds_per_clip", "Engine time for a clip", lambda: self._rate.seconds_per_clip)
        watch("vjepa_engines_serving", "Engines, one for each device, that take clips", self._serving)
        watch("vjepa_engines_lost", "Engines that were lost, while others go on", self._lost)

    def _waiting(self) -> float:
        deployment = self._service.deployment
        return deployment.batcher.waiting if deployment else 0

    def _serving(self) -> float:
        deployment = self._service.deployment
        return deployment.batcher.engines_serving if deployment else 0

    def _lost(self) -> float:
        deployment = self._service.deployment
        return deployment.batcher.engines_lost if deployment else 0
