"""What the service tells of its models; docstrings and descriptions are part of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from engines.engine import Model as ServedModel
from engines.linear_heads.head import Head
from engines.linear_heads.manifest import HeadManifest
from engines.manifest import Manifest, Precision, Target, Verification


class ModelSummary(msgspec.Struct):
    """A summary of the model in service; ``labels`` is the number of its labels."""

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
    """The service and its endpoints; ``model`` is null until one is loaded."""

    service: str
    version: str
    model: ModelSummary | None
    endpoints: Annotated[list[str], Meta(description="Method and path of each endpoint.")]
    encodings: Annotated[list[str], Meta(description="Content types that inference accepts.")]


class Verified(msgspec.Struct, kw_only=True):
    """How the answers of the bundle were compared with those of its checkpoint in FP32."""

    device: Annotated[str, Meta(description="Device on which the bundle was verified.")]
    precision: Precision
    clips: Annotated[int, Meta(description="Number of comparisons.")]
    max_abs_probability_error: Annotated[
        float | None, Meta(description="Largest difference of a probability; null for models without labels.")
    ]
    tolerance: Annotated[float | None, Meta(description="Largest difference that was allowed.")]
    top1_agreement: Annotated[float | None, Meta(description="Share of clips with the same most probable action.")]
    top5_agreement: float | None
    features_error: Annotated[
        float | None, Meta(description="Largest deviation of a part of the features, relative to its norm.")
    ]


class FeaturesSummary(msgspec.Struct):
    """What an embedding consists of: the parts by kind, in their order, with the number of features of each."""

    dim: int
    sha256: Annotated[str, Meta(description="Identity of the features, to which heads are bound.")]
    parts: dict[str, int]


class HeadSummary(msgspec.Struct):
    """A head that fits the model. The last label is `unknown`; recall and errors are those of held-out clips."""

    name: str
    labels: list[str]
    sha256: Annotated[str, Meta(description="SHA-256 over the head and its weights.")]
    fps: Annotated[float, Meta(description="Frames a second of the clips that it was taught.")]
    taught_at: Annotated[str, Meta(description="Time of the teaching in ISO 8601.")]
    accuracy: float
    calibration_error: float
    misses: Annotated[float, Meta(description="Share of the clips of actions that were answered with `unknown`.")]
    false_alarms: Annotated[
        float | None, Meta(description="Share of the background that was taken for an action; null without one.")
    ]


class Model(msgspec.Struct):
    """The model in service: its origin, its input, its labels and how it runs."""

    name: Annotated[str, Meta(description="Hub id or directory of the checkpoint.")]
    served_as: Annotated[str, Meta(description="Name of the model in this service, for `model` in requests.")]
    revision: Annotated[str | None, Meta(description="Revision of the checkpoint on the hub.")]
    sha256: Annotated[str, Meta(description="SHA-256 over the configuration and the weights of the checkpoint.")]
    random_weights: Annotated[
        bool, Meta(description="Whether the weights are random, for measuring speed only: the answers mean nothing.")
    ]
    bundle: Annotated[str, Meta(description="Name of the engine bundle.")]
    bundle_sha256: Annotated[str, Meta(description="SHA-256 of the bundle's content, as for `--bundle-sha256`.")]
    frames: Annotated[int, Meta(description="Exact number of frames of a clip.")]
    resize: Annotated[
        int, Meta(description="Pixels to which the short edge of a frame is resized; larger frames gain nothing.")
    ]
    crop: Annotated[int, Meta(description="Side in pixels of the square that is cut out of the resized frame.")]
    labels: Annotated[list[str], Meta(description="Labels in the order of the outputs of the model.")]
    max_batch: Annotated[int, Meta(description="Largest number of clips in a batch.")]
    target: Annotated[Target, Meta(description="Runtime of the engine.")]
    precision: Annotated[Precision, Meta(description="Precision of the network on this device.")]
    device: str
    features: Annotated[
        FeaturesSummary | None, Meta(description="The features; null for bundles that were exported without them.")
    ]
    heads: Annotated[list[HeadSummary], Meta(description="The heads that fit the model and are served.")]
    built_at: Annotated[str, Meta(description="Time of the export in ISO 8601.")]
    versions: Annotated[
        dict[str, str], Meta(description="Versions of the service and of the software that built the bundle.")
    ]
    verification: Annotated[
        Verified | None, Meta(description="How the answers were verified; null if the bundle was not verified.")
    ] = None


class Models(msgspec.Struct):
    """The models in service; the first that was named at the start is the default of requests."""

    models: list[Model]


def summary_of(engine: ServedModel) -> ModelSummary:
    """The summary of ``engine``'s model for ``GET /``."""
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


def model_of(engine: ServedModel, served_as: str, heads: Iterable[Head], service_version: str) -> Model:
    """The description of ``engine``'s model, served under that name, for ``GET /api/v1/models``."""
    manifest = engine.manifest
    return Model(
        name=manifest.source.model,
        served_as=served_as,
        revision=manifest.source.revision,
        sha256=manifest.source.sha256,
        random_weights=manifest.source.random_weights,
        bundle=manifest.name,
        bundle_sha256=manifest.content_sha256(),
        frames=manifest.frames,
        resize=manifest.preprocessing.resize,
        crop=manifest.preprocessing.crop,
        labels=list(manifest.labels),
        max_batch=manifest.max_batch,
        target=manifest.target,
        precision=engine.precision,
        device=engine.device_name,
        features=_features_of(manifest),
        heads=[_head_of(head.manifest, head.labels) for head in heads],
        built_at=manifest.built_at,
        versions={"vjepa2-serve": service_version} | manifest.built_with,
        verification=None if manifest.verification is None else _verified(manifest.verification),
    )


def _verified(found: Verification) -> Verified:
    return Verified(
        device=found.device,
        precision=found.precision,
        clips=found.clips,
        max_abs_probability_error=found.max_abs_probability_error,
        tolerance=found.tolerance,
        top1_agreement=found.top1_agreement,
        top5_agreement=found.top5_agreement,
        features_error=found.features_error,
    )


def _features_of(manifest: Manifest) -> FeaturesSummary | None:
    if not manifest.features:
        return None
    parts: dict[str, int] = {part.kind: part.size for part in manifest.features.parts}
    return FeaturesSummary(manifest.features.size, manifest.features_identity() or "", parts)


def _head_of(manifest: HeadManifest, labels: Sequence[str]) -> HeadSummary:
    report = manifest.report
    return HeadSummary(
        name=manifest.name,
        labels=list(labels),
        sha256=manifest.digest,
        fps=manifest.fps,
        taught_at=manifest.taught_at,
        accuracy=report.accuracy,
        calibration_error=report.calibration_error,
        misses=report.misses,
        false_alarms=report.false_alarms,
    )
