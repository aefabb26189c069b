"""The wire: what the service's contract says that its answers look like."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec


@dataclass(frozen=True, slots=True)
class Problem:
    """An RFC 9457 problem; what a foreign server leaves out is made up for."""

    title: str = ""
    detail: str = ""
    field: str | None = None

    @classmethod
    def read(cls, status: int, body: bytes) -> Problem:
        """Read the body of an error; anything but a problem becomes the status' own phrase."""
        try:
            problem = msgspec.json.decode(body, type=cls)
        except msgspec.MsgspecError:
            problem = cls()
        return problem if problem.said else cls(title=_phrase(status))

    @property
    def said(self) -> str:
        """Title and detail in one."""
        return ": ".join(part for part in (self.title, self.detail) if part)


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the service; what it does not say is empty or ``None``.

    Clips have exactly ``frames`` frames, whose short edge is resized to ``resize`` pixels and of which a square of
    ``crop`` pixels is looked at. ``labels`` are in the order of the model's outputs; ``max_batch`` clips are computed
    at once, by ``target`` on ``device`` in ``precision``.
    """

    frames: int
    name: str = ""
    crop: int | None = None
    resize: int | None = None
    labels: tuple[str, ...] = ()
    max_batch: int | None = None
    target: str | None = None
    precision: str | None = None
    device: str | None = None
    bundle: str | None = None
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def short_edge_px(self) -> int | None:
        """The short edge beyond which frames are sent in vain."""
        if self.resize is not None:
            return self.resize
        return None if self.crop is None else self.crop * 256 // 224


@dataclass(frozen=True, slots=True)
class Models:
    """The body of ``GET /api/v1/models``."""

    models: tuple[Model, ...]


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """What ``GET /`` says of the model, which older services say nothing else of."""

    frames: int
    name: str = ""
    crop: int | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """The body of ``GET /health``; ``status`` is healthy, loading, draining or unhealthy."""

    status: str
    model_loaded: bool


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """What the consumer reads of ``GET /``; no model while none is loaded."""

    model: ModelSummary | None = None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"
