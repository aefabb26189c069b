"""The JSON bodies of the service's answers, as the API contract defines them."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, TypeVar

import msgspec
import numpy as np
import pybase64
from msgspec import Meta
from numpy.typing import NDArray

from consumer.client.answer import Text
from consumer.errors import ServiceAnswerError
from consumer.shown_text import shown

T = TypeVar("T")

# The same limits as those of --frames; an edge is in pixels.
FrameCount = Annotated[int, Meta(ge=1, le=256)]
Edge = Annotated[int, Meta(ge=1, le=16_384)]
Count = Annotated[int, Meta(ge=1)]


def decoded(body: bytes, kind: type[T]) -> T:
    """The JSON ``body`` as a ``kind``; raises ServiceAnswerError, whatever is wrong with the body."""
    try:
        return msgspec.json.decode(body, type=kind)
    except RecursionError:
        raise ServiceAnswerError("its JSON is nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ServiceAnswerError(shown(str(error))) from error


def decoded_features(embedding: str) -> NDArray[np.float32]:
    """The features, float32 ``[dim]``, that ``embedding`` has as base64 of little-endian float32.

    Raises ServiceAnswerError.
    """
    try:
        data = pybase64.b64decode(embedding, validate=True)
    except ValueError as error:
        raise ServiceAnswerError(f"its embedding is not base64: {error}") from None
    found = np.frombuffer(data, "<f4") if data and len(data) % 4 == 0 else np.full(1, np.nan, "<f4")
    if not np.isfinite(found).all():
        raise ServiceAnswerError("its embedding is not finite numbers")
    return found.astype(np.float32)


@dataclass(frozen=True, slots=True)
class EmbedAnswer:
    """The body of an answer with features, which are base64 of little-endian float32."""

    embedding: str
    dim: Count
    clip_id: Text
    model: Text
    sha256: Text
    timings_ms: dict[str, float]

    def features(self) -> NDArray[np.float32]:
        """The features, float32 ``[dim]``; raises ServiceAnswerError."""
        found = decoded_features(self.embedding)
        if len(found) != self.dim:
            raise ServiceAnswerError(f"its embedding is not {self.dim} numbers")
        return found


@dataclass(frozen=True, slots=True)
class Problem:
    """An RFC 9457 problem; members that the answer lacks are empty or ``None``."""

    title: str = ""
    detail: str = ""
    field: str | None = None

    @classmethod
    def read(cls, status: int, body: bytes) -> Problem:
        """Decode the body of an error, its texts cut to 500 characters and escaped.

        A body that is no problem gives the standard phrase of the status.
        """
        try:
            problem = decoded(body, cls)
        except ServiceAnswerError:
            problem = cls()
        if not problem.summary:
            return cls(title=_phrase(status))
        field = None if problem.field is None else shown(problem.field)
        return cls(shown(problem.title), shown(problem.detail), field)

    @property
    def summary(self) -> str:
        """Title and detail in one line."""
        return ": ".join(part for part in (self.title, self.detail) if part)


@dataclass(frozen=True, slots=True)
class Model:
    """A model in service; members that the service does not give are empty or ``None``.

    ``served_as`` is its name for ``model`` in requests. A clip has exactly ``frames`` frames. The service resizes their
    short edge to ``resize`` pixels and crops the central square of ``crop`` pixels. ``labels`` are in the order of the
    model's outputs. Up to ``max_batch`` clips are computed at once by the engine ``target`` on ``device`` in
    ``precision``.
    """

    frames: FrameCount
    name: Text = ""
    crop: Edge | None = None
    resize: Edge | None = None
    labels: tuple[Text, ...] = ()
    max_batch: Count | None = None
    target: Text | None = None
    precision: Text | None = None
    device: Text | None = None
    bundle: Text | None = None
    versions: dict[str, str] = field(default_factory=dict)
    served_as: Text | None = None

    @property
    def short_edge_px(self) -> int | None:
        """The largest useful short edge of a frame in pixels: the service would shrink larger frames to it."""
        if self.resize is not None:
            return self.resize
        return None if self.crop is None else self.crop * 256 // 224


@dataclass(frozen=True, slots=True)
class Models:
    """The body of ``GET /api/v1/models``."""

    models: tuple[Model, ...]


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """The model in ``GET /``; older services describe their model only there."""

    frames: FrameCount
    name: Text = ""
    served_as: Text | None = None
    crop: Edge | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """The body of ``GET /health``; ``status`` is healthy, loading, draining or unhealthy."""

    status: str
    model_loaded: bool


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """The part of ``GET /`` that the client reads; ``model`` is ``None`` while none is loaded."""

    model: ModelSummary | None = None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"
