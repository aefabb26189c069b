"""The wire: what the service's contract says that its answers look like."""

from __future__ import annotations

from dataclasses import dataclass
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
    """A model of the service: clips have ``frames`` frames, of which it looks at a square of ``crop`` pixels."""

    frames: int
    name: str = ""
    crop: int | None = None
    precision: str | None = None
    device: str | None = None

    @property
    def short_edge_px(self) -> int | None:
        """What the service shrinks a frame's short edge to before it crops; larger frames are sent in vain."""
        return None if self.crop is None else self.crop * 256 // 224


@dataclass(frozen=True, slots=True)
class Health:
    """The body of ``GET /health``; ``status`` is healthy, loading, draining or unhealthy."""

    status: str
    model_loaded: bool


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """What the consumer reads of ``GET /``; no model while none is loaded."""

    model: Model | None = None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"
