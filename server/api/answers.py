"""What the endpoints other than inference answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engines.engine import Engine
from engines.manifest import Precision, Target

Status = Literal["loading", "healthy", "draining", "unhealthy"]


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


def summary_of(engine: Engine) -> ModelSummary:
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


def model_of(engine: Engine, service_version: str) -> Model:
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
