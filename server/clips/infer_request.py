"""What travels over HTTP: what may be sent, in each of its encodings, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

MAX_SIDE_PIXELS = 16384
MAX_CLIP_ID_CHARACTERS = 256
DEFAULT_TOP_K = 5

JSON = "application/json"
OCTET_STREAM = "application/octet-stream"
MULTIPART = "multipart/form-data"


class InferBody(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON body as sent; ``frames`` stay where they lie in the body until they are decoded into place."""

    frames: Any
    width: int | None = None
    height: int | None = None
    format: str = "BGR"
    clip_id: str | None = None
    top_k: int | None = None


class InferQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The query of an octet-stream, whose body is the packed pixels of all frames, back to back."""

    width: int
    height: int
    format: str = "BGR"
    clip_id: str | None = None
    top_k: int | None = None


class InferParts(msgspec.Struct, forbid_unknown_fields=True):
    """The parts of a multipart body: one of ``frames`` for each frame, an encoded image; the others are texts."""

    frames: list[bytes]
    width: int | None = None
    height: int | None = None
    format: str = "BGR"
    clip_id: str | None = None
    top_k: int | None = None


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


class InferAnswer(msgspec.Struct):
    """Body of a 200."""

    predictions: list[Prediction]
    clip_id: str
    model: str
    timings_ms: TimingsMs


def top_predictions(probabilities: npt.NDArray[np.float32], labels: Sequence[str], top_k: int) -> list[Prediction]:
    """The ``top_k`` most probable of ``probabilities``, float32 [labels], in falling order."""
    order = np.argsort(-probabilities, kind="stable")[:top_k]
    return [Prediction(labels[index], round(float(probabilities[index]), 6)) for index in order]
