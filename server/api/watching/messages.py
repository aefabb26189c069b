"""The events of ``GET /api/v1/events``; each is the JSON of one server-sent event, whose name is that of its type."""

from __future__ import annotations

import msgspec

from server.api.answers import Prediction


class Segment(msgspec.Struct, kw_only=True):
    """A time in which one action was the most probable: from its first answer to its latest one, in Unix time.

    ``confidence`` is the highest of these answers.
    """

    label: str
    start_s: float
    end_s: float
    confidence: float


class HeadPrediction(msgspec.Struct, kw_only=True):
    """What a head that is watched says of the latest window, and since when its most probable action is the same."""

    predictions: list[Prediction]
    action_since_s: float


class HeadState(msgspec.Struct, kw_only=True):
    """The same, with the actions of the last five minutes since the head is watched, the oldest first."""

    predictions: list[Prediction]
    action_since_s: float
    recent: list[Segment]


class StreamState(msgspec.Struct, kw_only=True):
    """An open stream and what it shows; all times are Unix times. ``head``: the one whose labels the stream asked for.

    ``predictions`` and what follows are those of the latest answer, at ``answered_s``. ``action_since_s``: since when
    the most probable action has been the same. ``recent``: the actions of the last five minutes, the oldest first.
    ``heads``: the same by each head that is watched.
    """

    session: str
    name: str
    since_s: float
    fps: float
    stride: int
    policy: str
    skipped: dict[str, int]
    gaps: int
    frames_refused: int
    predictions: list[Prediction] = []
    answered_s: float | None = None
    action_since_s: float | None = None
    age_ms: float | None = None
    total_ms: float | None = None
    recent: list[Segment] = []
    head: str | None = None
    heads: dict[str, HeadState] = {}


class Streams(msgspec.Struct, kw_only=True):
    """All open streams; replaces all that was known. ``previews`` tells whether pictures are sent."""

    previews: bool
    streams: list[StreamState]


class Opened(msgspec.Struct, kw_only=True):
    """A stream was opened."""

    stream: StreamState


class Predicted(msgspec.Struct, kw_only=True):
    """A window of a stream was answered; the members are those of the stream's state.

    ``still``: nothing moved in the window, which is one of those that are classified all the same. ``heads``: what the
    heads that are watched say of it.
    """

    session: str
    window: int
    predictions: list[Prediction]
    answered_s: float
    action_since_s: float
    age_ms: float
    total_ms: float
    still: bool
    heads: dict[str, HeadPrediction] = {}


class WindowSkipped(msgspec.Struct, kw_only=True):
    """A window of a stream is not classified; ``skipped`` counts all of the stream by reason."""

    session: str
    at_s: float
    window: int
    reason: str
    skipped: dict[str, int]


class GapFound(msgspec.Struct, kw_only=True):
    """No window spans this place of a stream; ``gaps`` counts all of the stream."""

    session: str
    at_s: float
    reason: str
    gaps: int


class FrameRefused(msgspec.Struct, kw_only=True):
    """A frame or a window of a stream failed; ``detail`` says why."""

    session: str
    at_s: float
    detail: str
    frames_refused: int


class ModelChanged(msgspec.Struct, kw_only=True):
    """A stream is answered by another model from now on, or by changed heads: ``heads`` has those it asked for."""

    session: str
    at_s: float
    model: str
    heads: list[str]


class PictureTaken(msgspec.Struct, kw_only=True):
    """What a stream shows: a small JPEG, which JSON carries in base64."""

    session: str
    taken_s: float
    width: int
    height: int
    jpeg: bytes


class Closed(msgspec.Struct, kw_only=True):
    """A stream has ended."""

    session: str
    at_s: float


Message = Streams | Opened | Predicted | WindowSkipped | GapFound | FrameRefused | ModelChanged | PictureTaken | Closed

NAMES: dict[type[Message], str] = {
    Streams: "streams",
    Opened: "opened",
    Predicted: "prediction",
    WindowSkipped: "skipped",
    GapFound: "gap",
    FrameRefused: "refused",
    ModelChanged: "model",
    PictureTaken: "picture",
    Closed: "closed",
}


def encoded(message: Message, event_id: str | None = None) -> bytes:
    """The server-sent event of ``message``."""
    head = (
        f"event: {NAMES[type(message)]}\n" if event_id is None else f"event: {NAMES[type(message)]}\nid: {event_id}\n"
    )
    return head.encode() + b"data: " + msgspec.json.encode(message) + b"\n\n"
