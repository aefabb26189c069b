"""A bundle whose plan only the fake TensorRT can run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from engines.manifest import FORMAT_VERSION, Device, FeaturePart, Features, Manifest, Preprocessing, Source, Tensor
from engines.storage.bundle import Bundle, open_bundle
from export.bundling.staging import write_manifest
from tests.fakes.tensorrt import plan_bytes

CLIP_SHAPE, LABELS, FEATURES, MAX_BATCH = (4, 3, 32, 32), 5, 6, 4
VERSIONS = {"tensorrt": "10.13.3", "tensorrt-rtx": "1.7.1"}


def write_plan_bundle(path: Path, target: str, plan: dict[str, Any] | None = None, **options: Any) -> Bundle:
    """``plan`` changes what the plan says, ``options`` are the builder's in the manifest."""
    path.mkdir()
    (path / "model.plan").write_bytes(plan_bytes(CLIP_SHAPE, LABELS, **(plan or {})))
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=path.name,
        source=Source(model="fake", revision=None, sha256="0"),
        labels=tuple(f"label {number}" for number in range(LABELS)),
        frames=CLIP_SHAPE[0],
        preprocessing=Preprocessing(resize=36, crop=32),
        target=target,
        precision="fp16",
        max_batch=MAX_BATCH,
        network_input=Tensor(name="pixels", dtype="float16", clip_shape=CLIP_SHAPE),
        network_output=Tensor(name="probabilities", dtype="float32", clip_shape=(LABELS,)),
        device=Device(name="Fake GPU", compute_capabilities=("9.0",)),
        built_at="2026-11-27T00:00:00+00:00",
        built_with={target: VERSIONS[target]},
        recipe="fake",
        options=options,
        verification=None,
    )
    if (plan or {}).get("features"):
        output = Tensor(name="features", dtype="float32", clip_shape=(FEATURES,))
        described = Features(output=output, parts=(FeaturePart(kind="pooled", size=FEATURES),))
        manifest = msgspec.structs.replace(manifest, features=described)
    write_manifest(path, manifest)
    return open_bundle(path)
