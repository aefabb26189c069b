"""Loads the bundle and puts it in service, at the start and at each reload."""

from __future__ import annotations

import logging

from engines.errors import BundleError
from server.limits.throughput import Throughput
from server.serving.deployment import CLOSE_TIMEOUT_S, Deployment, LoadEngine, deploy
from server.serving.service import Service
from server.serving.swap_comparison import SwapComparison, compare_answers
from server.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)


class Loader:
    """Loads deployments and gives them to ``service``; it also publishes the gauges of the deployment in service."""

    def __init__(self, service: Service, load: LoadEngine, throughput: Throughput, metrics: Metrics) -> None:
        self._service = service
        self._load = load
        self._throughput = throughput
        self._metrics = metrics
        self._swap = SwapComparison()
        self._watch_gauges()

    async def start(self) -> None:
        """Put the bundle in service; raises BundleError, EngineError or ConfigurationError if it cannot be served."""
        self._put(await self._deploy())

    async def reload(self) -> None:
        """Load and warm up the bundle as it is now, then replace the old engine; keep the old one if that fails."""
        try:
            fresh = await self._deploy()
            await self._check_swap(fresh)
        except Exception as error:  # a runtime may raise anything for a bad bundle, and the old engine still works
            self._metrics.reloaded("kept")
            _log.error("reload failed, the old engine stays", extra={"error": str(error)})
            return
        self._put(fresh)
        self._metrics.reloaded("swapped")
        _log.info("engine swapped", extra={"bundle": fresh.model.manifest.name})

    def _put(self, fresh: Deployment) -> None:
        self._service.put(fresh)
        self._metrics.engine.info({name: str(value) for name, value in fresh.description.items()})

    async def _check_swap(self, fresh: Deployment) -> None:
        """Compare the answers of ``fresh`` with those in service; close it and raise if it must not take over."""
        try:
            found = await self._compared(fresh)
            limit = self._service.settings.swap_max_disagreement
            if found.disagreement > limit:
                raise BundleError(
                    f"{found.changed} of {found.clips} clips get another most probable action with the new engine",
                    help=f"look at the new bundle, or raise --swap-max-disagreement (now {limit:g})",
                )
        except BaseException:
            await fresh.close(CLOSE_TIMEOUT_S)
            raise

    async def _compared(self, fresh: Deployment) -> SwapComparison:
        old, clips = self._service.deployment, await self._service.recent_clips.clips()
        if old is None:
            return SwapComparison()
        found = await compare_answers(old, fresh, [*clips, *(fresh.reference.clips if fresh.reference else ())])
        self._swap = found
        _log.info(
            "answers of both engines compared",
            extra={
                "clips": found.clips,
                "top1_changed": found.changed,
                "largest_probability_difference": round(found.largest, 6),
            },
        )
        return found

    async def _deploy(self) -> Deployment:
        service = self._service
        return await deploy(service.settings, self._load, self._throughput, self._metrics, service.engine_lost)

    def _watch_gauges(self) -> None:
        watch, admission = self._metrics.watch, self._service.admission
        watch("vjepa_queue_clips", "Clips that wait for the engine, without those of low priority", self._waiting)
        watch("vjepa_queue_low_priority_clips", "Clips of low priority that wait for the engine", self._waiting_low)
        watch("vjepa_admitted_clips", "Clips in decoding, queue and engine", lambda: admission.clips)
        watch("vjepa_inflight_bytes", "Bytes of bodies and pixels that requests hold", lambda: admission.held_bytes)
        watch("vjepa_decodes_stuck", "Decode threads that are stuck", lambda: self._service.decode_threads.stuck)
        watch("vjepa_seconds_per_clip", "Engine time per clip", lambda: self._throughput.seconds_per_clip)
        watch("vjepa_engines_serving", "Engines, one for each device, that take clips", self._serving)
        watch("vjepa_swap_clips", "Clips compared at the last reload", lambda: self._swap.clips)
        watch("vjepa_swap_answers_changed", "Of those, clips with another best label", lambda: self._swap.changed)
        watch("vjepa_swap_largest_difference", "Largest difference of a probability", lambda: self._swap.largest)
        heads = self._service.heads
        watch("vjepa_heads_serving", "Heads that fit the model in service", lambda: len(self._service.fitting_heads()))
        watch("vjepa_heads_refused", "Heads that are damaged and not served as they are", lambda: len(heads.refused))
        watch("vjepa_engines_lost", "Engines that were lost while others continue", self._lost)

    def _waiting(self) -> float:
        deployment = self._service.deployment
        return deployment.batcher.waiting if deployment else 0

    def _waiting_low(self) -> float:
        deployment = self._service.deployment
        return deployment.batcher.waiting_low_priority if deployment else 0

    def _serving(self) -> float:
        deployment = self._service.deployment
        return deployment.batcher.engines_serving if deployment else 0

    def _lost(self) -> float:
        deployment = self._service.deployment
        return deployment.batcher.engines_lost if deployment else 0
