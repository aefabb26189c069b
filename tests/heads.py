"""Heads whose scores are known beforehand, for tests of what serves them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from engines.linear_heads.head import Weights
from engines.linear_heads.manifest import FORMAT_VERSION, HeadManifest, Rejection, Report
from engines.linear_heads.storage import write_head
from engines.manifest import Manifest
from engines.storage.bundle import DEMO, open_bundle

FAR = 1e9
REPORT = Report(
    classes=(), confusion=(), accuracy=0.9, calibration_error_before=0.1, calibration_error=0.02, misses=0.05
)


def demo_manifest() -> Manifest:
    return open_bundle(DEMO).manifest


def constant_head(
    path: Path,
    labels: tuple[str, ...],
    best: float,
    *,
    manifest: Manifest | None = None,
    threshold: float = -FAR,
    **changes: object,
) -> HeadManifest:
    """A head in ``path`` that answers every clip with the first of ``labels`` and the confidence ``best``.

    The other labels share what is left. With a high ``threshold`` it answers with ``unknown``. ``changes`` are fields
    of its manifest, or arrays of its weights.
    """
    model = manifest or demo_manifest()
    assert model.features
    size = model.features.size
    rest = (1 - best) / max(1, len(labels) - 1)
    arrays = {
        "weight": np.zeros((len(labels), size), np.float32),
        "bias": np.log([best, *[rest] * (len(labels) - 1)]).astype(np.float32),
        "subspace": np.eye(2, size, dtype=np.float32),
        "origin": np.zeros(2, np.float32),
        "taught": np.zeros((1, 2), np.float32),
    }
    for name in arrays.keys() & changes.keys():
        arrays[name] = changes.pop(name)
    made = HeadManifest(
        format_version=FORMAT_VERSION,
        name=path.name,
        model=model.source.model,
        features=model.features_identity() or "",
        labels=labels,
        temperature=1.0,
        rejection=Rejection(threshold=threshold, distance_centre=0.0, distance_scale=1.0),
        fps=3.0,
        taught_at="2026-11-27T16:00:00+00:00",
        built_with={},
        report=REPORT,
        weights_sha256="",
    )
    return write_head(path, msgspec.structs.replace(made, **changes), Weights(**arrays))
