"""The wire: what the service's contract says requests and answers look like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

import msgspec
import pybase64

from consumer.picture import Picture

FRAME_BREAK = b'","'
END = b'"]}'


class ClipBody:
    """The JSON body of a clip, made frame by frame while it is sent: the base64 never exists as a whole."""

    def __init__(self, pictures: tuple[Picture, ...], top_k: int | None, clip_id: str) -> None:
        height, width, _ = pictures[0].shape
        options = {"clip_id": clip_id, "width": width, "height": height, "format": "RGB"}
        if top_k is not None:
            options["top_k"] = top_k
        self.clip_id = clip_id
        self._pictures = pictures
        self._head = msgspec.json.encode(options)[:-1] + b',"frames":["'

    @property
    def headers(self) -> dict[str, str]:
        """Content type and exact length in bytes; a known length lets the service refuse or allocate at once."""
        pixels = sum(picture.shape[0] * picture.shape[1] for picture in self._pictures)
        breaks = len(FRAME_BREAK) * (len(self._pictures) - 1)
        size_bytes = len(self._head) + 4 * pixels + breaks + len(END)
        return {"Content-Type": "application/json", "Content-Length": str(size_bytes)}

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces; may be asked for again when the clip has to be sent again."""
        lead = self._head
        for picture in self._pictures:
            yield lead
            yield pybase64.b64encode(picture.data)
            lead = FRAME_BREAK
        yield END


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
class ModelInfo:
    """The part of a service's model that shapes a clip."""

    frames: int


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """What the consumer reads of ``GET /``."""

    model: ModelInfo


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown status"
