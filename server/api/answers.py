"""The types of the answers; their docstrings and descriptions are part of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pybase64
from msgspec import Meta

from server.clips.infer_request import EncodingFormat
from server.telemetry.phases import ClipTimes

Status = Literal["loading", "healthy", "draining", "unhealthy"]


class Prediction(msgspec.Struct):
    """One recognised action; ``confidence`` is its softmax probability over all labels."""

    label: str
    confidence: float


class TimingsMs(msgspec.Struct):
    """Milliseconds of each phase of a request; ``total`` is the time from the request's first byte to its answer."""

    decode: float
    queue: float
    infer: float
    total: float

    @classmethod
    def of(cls, times: ClipTimes) -> TimingsMs:
        """Sum preprocessing and network to ``infer``; the time for reading the body is only part of ``total``."""
        infer_ms = times.preprocess_ms + times.infer_ms
        return cls(
            decode=round(times.decode_ms, 3),
            queue=round(times.queue_ms, 3),
            infer=round(infer_ms, 3),
            total=round(times.total_ms, 3),
        )


class InferAnswer(msgspec.Struct, omit_defaults=True):
    """The answer to a classified clip; the predictions are sorted by confidence, the highest first.

    ``head``: the head that they are of, where the request named one. ``heads``: the predictions of every head that fits
    the model, where the request asked for all; ``predictions`` are then those of the model's own labels.
    """

    predictions: list[Prediction]
    clip_id: str
    model: str
    timings_ms: TimingsMs
    head: str | None = None
    heads: dict[str, list[Prediction]] | None = None


class EmbedAnswer(msgspec.Struct):
    """The features of a clip; in base64, they are little-endian float32."""

    embedding: list[float] | str
    dim: int
    clip_id: str
    model: str
    sha256: Annotated[
        str, Meta(description="Identity of the features: embeddings of the same identity can be compared.")
    ]
    timings_ms: TimingsMs


class Health(msgspec.Struct):
    """The state of the service, and whether it has loaded a model."""

    status: Status
    model_loaded: bool


class Alive(msgspec.Struct):
    """The process is alive: its event loop runs."""

    status: Literal["alive"]


class Ready(msgspec.Struct):
    """The service accepts requests."""

    status: Literal["ready"]


class Document(msgspec.Struct):
    """An OpenAPI 3.1 document."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]


class StreamDocument(msgspec.Struct):
    """An AsyncAPI 3 document."""

    asyncapi: str
    info: dict[str, Any]
    channels: dict[str, Any]
    operations: dict[str, Any]
    components: dict[str, Any]


def encoded_features(features: npt.NDArray[np.float32], encoding: EncodingFormat) -> list[float] | str:
    """The ``features`` of a clip, float32 [F], as numbers or as base64 of little-endian float32."""
    return pybase64.b64encode(features.astype("<f4").tobytes()).decode() if encoding == "base64" else features.tolist()


def top_predictions(probabilities: npt.NDArray[np.float32], labels: Sequence[str], top_k: int) -> list[Prediction]:
    """The ``top_k`` most probable labels, the most probable first; ``probabilities`` is float32 [labels]."""
    order = np.argsort(-probabilities, kind="stable")[:top_k]
    return [Prediction(labels[index], round(float(probabilities[index]), 6)) for index in order]
