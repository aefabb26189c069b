"""The gauges that are read when they are scraped: those of one model, and those of the service."""

from __future__ import annotations

from collections.abc import Callable

from server.batching.batcher import Batcher
from server.clips.decode_threads import DecodeThreads
from server.limits.admission import Admission
from server.serving.heads import Heads
from server.serving.models.served_model import ModelState, ServedModel
from server.telemetry.metrics import Metrics


def watch_service(metrics: Metrics, admission: Admission, threads: DecodeThreads, heads: Heads) -> None:
    """Publish what all models share."""
    metrics.watch("vjepa_inflight_bytes", "Bytes of bodies and pixels that requests hold", lambda: admission.held_bytes)
    metrics.watch("vjepa_decodes_stuck", "Decode threads that are stuck", lambda: threads.stuck)
    metrics.watch(
        "vjepa_heads_refused", "Heads that are damaged and not served as they are", lambda: len(heads.refused)
    )


def watch_model(model: ServedModel, heads: Heads) -> None:
    """Publish the gauges of ``model``, which are those of its deployment in service."""
    watch = model.metrics.watch

    def of_batcher(value: Callable[[Batcher], float]) -> Callable[[], float]:
        return lambda: value(model.deployment.batcher) if model.deployment else 0

    ready = ModelState.READY
    watch("vjepa_model_ready", "Whether the model is in service", lambda: model.state is ready)
    watch(
        "vjepa_queue_clips",
        "Clips that wait for the engine, without those of low priority",
        of_batcher(lambda batcher: batcher.waiting),
    )
    watch(
        "vjepa_queue_low_priority_clips",
        "Clips of low priority that wait for the engine",
        of_batcher(lambda batcher: batcher.waiting_low_priority),
    )
    watch("vjepa_admitted_clips", "Clips in decoding, queue and engine", lambda: model.slots.clips)
    watch("vjepa_seconds_per_clip", "Engine time per clip", lambda: model.throughput.seconds_per_clip)
    watch(
        "vjepa_engines_serving",
        "Engines, one for each device, that take clips",
        of_batcher(lambda batcher: batcher.engines_serving),
    )
    watch(
        "vjepa_engines_lost",
        "Engines that were lost while others continue",
        of_batcher(lambda batcher: batcher.engines_lost),
    )
    watch("vjepa_swap_clips", "Clips compared at the last reload", lambda: model.swap.clips)
    watch("vjepa_swap_answers_changed", "Of those, clips with another best label", lambda: model.swap.changed)
    watch("vjepa_swap_largest_difference", "Largest difference of a probability", lambda: model.swap.largest)
    watch(
        "vjepa_heads_serving",
        "Heads that fit the model in service",
        lambda: len(heads.fitting(model.features_identity)),
    )
