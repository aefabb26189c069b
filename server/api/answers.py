"""What the endpoints answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from engines.engine import Model as ServedModel
from engines.manifest import Precision, Target
from server.telemetry.phases import ClipTimes

Status = Literal["loading", "healthy", "draining", "unhealthy"]


class Prediction(msgspec.Struct):
    """``confidence`` is the softmax probability over all labels."""

    label: str
    confidence: float


class TimingsMs(msgspec.Struct):
    """Milliseconds of each phase of one request; ``total`` runs from its first to its last byte here."""

    decode: float
    queue: float
    infer: float
    total: float

    @classmethod
    def of(cls, times: ClipTimes) -> TimingsMs:
        """``infer`` includes the preprocessing; the time of reading is part of ``total`` only."""
        infer_ms = times.preprocess_ms + times.infer_ms
        return cls(
            decode=round(times.decode_ms, 3),
            queue=round(times.queue_ms, 3),
            infer=round(infer_ms, 3),
            total=round(times.total_ms, 3),
        )


class InferAnswer(msgspec.Struct):
    """Body of a 200."""

    predictions: list[Prediction]
    clip_id: str
    model: str
    timings_ms: TimingsMs


class Health(msgspec.Struct):
    """What the service is doing, and whether it has an engine."""

    status: Status
    model_loaded: bool


class Alive(msgspec.Struct):
    """The event loop turns."""

    status: Literal["alive"]


class Ready(msgspec.Struct):
    """Work is accepted."""

    status: Literal["ready"]


class Document(msgspec.Struct):
    """OpenAPI 3.1."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]


class ModelSummary(msgspec.Struct):
    """The model in service in short; ``labels`` is their number."""

    name: str
    frames: int
    crop: int
    labels: int
    max_batch: int
    target: Target
    precision: Precision
    device: str
    random_weights: bool


class Index(msgspec.Struct):
    """Who answers here, with which model, and where; no model while none is loaded."""

    service: str
    version: str
    model: ModelSummary | None
    endpoints: Annotated[list[str], Meta(description="Method and path of each.")]
    encodings: Annotated[list[str], Meta(description="Content types that inference takes.")]


class Model(msgspec.Struct):
    """All that a client may want to know of the model in service."""

    name: Annotated[str, Meta(description="Hub id or directory of the checkpoint.")]
    revision: Annotated[str | None, Meta(description="The checkpoint's revision on the hub.")]
    sha256: Annotated[str, Meta(description="Over the checkpoint's configuration and weights.")]
    random_weights: Annotated[bool, Meta(description="Architecture only, for measuring speed: answers mean nothing.")]
    bundle: Annotated[str, Meta(description="Name of the engine bundle.")]
    frames: Annotated[int, Meta(description="How many frames a clip has, exactly.")]
    resize: Annotated[
        int, Meta(description="Pixels that a frame's short edge is resized to; larger ones gain nothing.")
    ]
    crop: Annotated[int, Meta(description="Side in pixels of the square cut out of that.")]
    labels: Annotated[list[str], Meta(description="In the order of the model's outputs.")]
    max_batch: Annotated[int, Meta(description="Clips that the engine takes at once.")]
    target: Annotated[Target, Meta(description="What runs it.")]
    precision: Annotated[Precision, Meta(description="What it computes in on this device.")]
    device: str
    built_at: Annotated[str, Meta(description="ISO 8601.")]
    versions: Annotated[dict[str, str], Meta(description="Of the service, and of everything that built the bundle.")]


class Models(msgspec.Struct):
    """The models in service: one."""

    models: list[Model]


def summary_of(engine: ServedModel) -> ModelSummary:
    """``engine``'s model for ``GET /``."""
    manifest = engine.manifest
    return ModelSummary(
        name=manifest.source.model,
        frames=manifest.frames,
        crop=manifest.preprocessing.crop,
        labels=len(manifest.labels),
        max_batch=manifest.max_batch,
        target=manifest.target,
        precision=engine.precision,
        device=engine.device_name,
        random_weights=manifest.source.random_weights,
    )


def model_of(engine: ServedModel, service_version: str) -> Model:
    """``engine``'s model for ``GET /api/v1/models``."""
    manifest = engine.manifest
    return Model(
        name=manifest.source.model,
        revision=manifest.source.revision,
        sha256=manifest.source.sha256,
        random_weights=manifest.source.random_weights,
        bundle=manifest.name,
        frames=manifest.frames,
        resize=manifest.preprocessing.resize,
        crop=manifest.preprocessing.crop,
        labels=list(manifest.labels),
        max_batch=manifest.max_batch,
        target=manifest.target,
        precision=engine.precision,
        device=engine.device_name,
        built_at=manifest.built_at,
        versions={"vjepa2-serve": service_version} | manifest.built_with,
    )


def top_predictions(probabilities: npt.NDArray[np.float32], labels: Sequence[str], top_k: int) -> list[Prediction]:
    """The ``top_k`` most probable of ``probabilities``, float32 [labels], in falling order."""
    order = np.argsort(-probabilities, kind="stable")[:top_k]
    return [Prediction(labels[index], round(float(probabilities[index]), 6)) for index in order]
