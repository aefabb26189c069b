"""Measures features on the scale of the checkpoint's own: each part of them relative to the norm of that part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from engines.manifest import FeaturePart, Precision
from engines.storage.log_odds import Doubles
from engines.storage.reference import Floats

# The largest accepted error of a part of a clip's features, relative to the norm of that part: several times the error
# of sound networks. Heads stand up to far more, since the features of two clips of one action differ by half the norm.
TOLERANCES: dict[Precision, float] = {"fp32": 1e-3, "fp16": 3e-2, "bf16": 1e-1, "fp8": 3e-1, "int8": 5e-1}


def feature_errors(answers: Floats, expected: Floats, parts: Sequence[FeaturePart]) -> Doubles:
    """The largest error of a part of the features [clips, F], relative to its norm in ``expected``: [clips]."""
    by_part = [
        np.linalg.norm(answers[:, at].astype(np.float64) - expected[:, at], axis=1)
        / np.maximum(np.linalg.norm(expected[:, at].astype(np.float64), axis=1), np.finfo(np.float32).tiny)
        for at in _places(parts)
    ]
    found: Doubles = np.max(by_part, axis=0)
    return found


def feature_distances(features: Floats) -> Doubles:
    """How far the features [clips, F] of every two clips are apart, relative to their mean norm: [clips, clips]."""
    wide = features.astype(np.float64)
    scale = max(float(np.linalg.norm(wide, axis=1).mean()), float(np.finfo(np.float32).tiny))
    apart: Doubles = np.stack([np.linalg.norm(wide - one, axis=1) / scale for one in wide])
    return apart


def _places(parts: Sequence[FeaturePart]) -> Iterator[slice]:
    begin = 0
    for part in parts:
        yield slice(begin, begin + part.size)
        begin += part.size
