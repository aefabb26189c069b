"""A model in a running service, which is asked over HTTP at low priority."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import msgspec
import numpy as np
import numpy.typing as npt

from archive.errors import InputError, RemoteError
from archive.models.connection import Connection
from engines.clip import Clip
from engines.engine import Engine, Inference
from engines.manifest import FORMAT_VERSION, Device, Manifest, Precision, Preprocessing, Source, Target, Tensor
from engines.preprocessing.resize import unresized_crop

# One window is on its way while one is in the engine.
_LANES = 2


class _Head(msgspec.Struct):
    name: str
    labels: tuple[str, ...]
    sha256: str


class _Model(msgspec.Struct):
    """What ``GET /api/v1/models`` tells of a model, as far as it is needed here."""

    name: str
    bundle: str
    bundle_sha256: str
    sha256: str
    served_as: str
    frames: int
    resize: int
    crop: int
    labels: tuple[str, ...]
    target: Target
    precision: Precision
    device: str
    built_at: str
    heads: tuple[_Head, ...]


class _Models(msgspec.Struct):
    models: tuple[_Model, ...]


class _Prediction(msgspec.Struct):
    label: str
    confidence: float


class _Answer(msgspec.Struct):
    predictions: tuple[_Prediction, ...]


@dataclass(frozen=True)
class ServiceModel:
    """The model that ``described`` describes behind ``connection``, with its own labels or those of ``asked``."""

    connection: Connection = field(repr=False)
    described: _Model
    asked: _Head | None = None

    @property
    def manifest(self) -> Manifest:
        """What a manifest tells of the model, as far as the service does."""
        model = self.described
        return Manifest(
            format_version=FORMAT_VERSION,
            name=model.bundle,
            source=Source(model=model.name, revision=None, sha256=model.sha256),
            labels=model.labels,
            frames=model.frames,
            preprocessing=Preprocessing(model.resize, model.crop),
            target=model.target,
            precision=model.precision,
            max_batch=1,
            network_input=Tensor(name="clip", dtype="float32", clip_shape=(model.frames, 3, model.crop, model.crop)),
            network_output=None,
            device=Device(name=model.device),
            built_at=model.built_at,
            built_with={},
            recipe="",
            options={},
            verification=None,
        )

    @property
    def sha256(self) -> str:
        return self.described.bundle_sha256

    @property
    def head(self) -> str | None:
        return self.asked.name if self.asked else None

    @property
    def head_sha256(self) -> str | None:
        return self.asked.sha256 if self.asked else None

    @property
    def labels(self) -> tuple[str, ...]:
        return self.asked.labels if self.asked else self.described.labels

    def engine(self, threads: int = 0) -> Engine:
        """What asks the service; ``threads`` mean nothing to it."""
        return ServiceEngine(self)


def service_model(url: str, key: str | None, head: str | None) -> ServiceModel:
    """The default model of the service at ``url``.

    Raises:
        RemoteError: the service does not answer as it should.
        InputError: it does not serve that ``head``, or its model has no labels.
    """
    # Its warnings tell of each attempt; what finally failed is told by an error.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    connection = Connection(url, key, _LANES)
    try:
        model = msgspec.json.decode(connection.get("/api/v1/models"), type=_Models).models[0]
    except (msgspec.DecodeError, IndexError) as error:
        raise RemoteError(
            f"{url} is no service of this version ({error})", "update the service, or this program"
        ) from None
    asked = next((each for each in model.heads if each.name == head), None)
    if head is not None and asked is None:
        names = ", ".join(each.name for each in model.heads) or "none"
        raise InputError(f"{url} serves no head {head!r} for {model.bundle}", f"its heads: {names}")
    if asked is None and not model.labels:
        raise InputError(f"the model of {url} has no labels of its own", "give a --head")
    return ServiceModel(connection, model, asked)


class ServiceEngine:
    """An ``Engine`` that sends each clip to a service; its answers have six digits after the point."""

    compiles_each_batch = False
    lanes = _LANES
    share = None

    def __init__(self, model: ServiceModel) -> None:
        self._model = model
        self.manifest = model.manifest
        self.device_name = model.described.device
        self.precision: Precision = model.described.precision
        self._index = {label: number for number, label in enumerate(model.labels)}
        side = self.manifest.preprocessing.resize
        query = {"width": side, "height": side, "format": "RGB", "top_k": len(model.labels)}
        query |= {"head": model.head} if model.head else {}
        self._path = f"/api/v1/infer?{urlencode(query, quote_via=quote)}"

    def allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        return np.empty((self.manifest.frames, height, width, 3), np.uint8)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        """Classify one cropped clip. Raises RemoteError."""
        (clip,) = clips
        answer = self._decoded(self._model.connection.post(self._path, self._framed(clip).tobytes()))
        scores = np.zeros((1, len(self._index)), np.float32)
        for prediction in answer.predictions:
            if prediction.label not in self._index:
                raise self._changed(f"it has another label, {prediction.label!r}")
            scores[0, self._index[prediction.label]] = prediction.confidence
        return Inference(probabilities=scores, preprocess_ms=0.0, network_ms=0.0)

    def close(self) -> None:
        self._model.connection.close()

    def _framed(self, clip: Clip) -> npt.NDArray[np.uint8]:
        """``clip`` in the middle of frames from which the service cuts exactly it, without resizing."""
        preprocessing = self.manifest.preprocessing
        frames = np.zeros((len(clip.frames), preprocessing.resize, preprocessing.resize, 3), np.uint8)
        for frame, crop in zip(frames, clip.frames, strict=True):
            unresized_crop(frame, preprocessing)[:] = crop
        return frames

    def _decoded(self, body: bytes) -> _Answer:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except msgspec.DecodeError as error:
            raise self._changed(str(error)) from None
        if len(answer.predictions) != len(self._index):
            raise self._changed(f"it has {len(answer.predictions)} labels and not {len(self._index)}")
        return answer

    def _changed(self, why: str) -> RemoteError:
        return RemoteError(f"the service answers otherwise than at the start: {why}", "start again; what is done stays")
