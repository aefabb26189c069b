"""What goes over a stream in both directions: the hello and the frames of a client, and the answers of the service."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from consumer.client.answer import Prediction, Text
from consumer.client.encodings import Encoding, Picture, PixelFormat, check_pictures, encode_image
from consumer.client.wire import decoded_features

Policy = Literal["latest", "wait"]
Still = Literal["classify", "skip"]

Frame = bytes | Picture
"""A JPEG, PNG or WebP image, or pixels: uint8 ``[height, width, 3]``."""

_VERSION = 1
# Little-endian: version, time in seconds, width and height in pixels; 0 x 0 for an encoded image.
_HEADER = struct.Struct("<IdII")
END = '{"type":"end"}'

Count = Annotated[int, Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a stream asks for; ``None`` means the service's own default.

    The service samples ``fps`` frames a second and begins a window every ``stride`` sampled frames (``None``: windows
    do not overlap). ``policy`` is latest for cameras (a window that waits for the engine is replaced by the next one)
    or wait for recordings (nothing is skipped, and sending waits). After ``max_gap_s`` seconds without a frame the next
    window begins anew. ``weight`` is the share of the engine beside other streams.
    ``model`` is the name of one of several models of the service.

    With ``still`` skip, windows in which less than ``still_threshold`` grey levels move are skipped, except for the
    share ``still_check`` of them. Of these, the service counts as missed those that show one of ``event_labels``
    (empty: any label) with at least ``event_threshold``.

    ``head`` is the name of a head with whose labels to answer, or ``all``. ``embedding`` asks for the features, too.
    """

    name: str | None = None
    model: str | None = None
    fps: float | None = None
    stride: int | None = None
    top_k: int | None = None
    policy: Policy = "latest"
    pixel_format: PixelFormat = "RGB"
    max_gap_s: float | None = None
    weight: float | None = None
    still: Still | None = None
    still_threshold: float | None = None
    still_check: float | None = None
    event_threshold: float | None = None
    event_labels: tuple[str, ...] = ()
    head: str | None = None
    embedding: bool = False

    def hello(self) -> str:
        """The first message of a stream. What is not set is left out, so that older services accept it, too."""
        fields: dict[str, Any] = {"format": self.pixel_format}
        fields |= {name: getattr(self, name) for name in self.__slots__ if name not in ("pixel_format", "embedding")}
        fields["embedding"] = "base64" if self.embedding else None
        return msgspec.json.encode({name: value for name, value in fields.items() if value not in (None, ())}).decode()


def frame_message(time_s: float, frame: Frame, encoding: Encoding, pixel_format: PixelFormat, quality: int) -> bytes:
    """The message for the frame of ``time_s``; pixels become a JPEG of ``quality`` if ``encoding`` is jpeg.

    Raises ClipError if the pixels are not uint8 ``[height, width, 3]``.
    """
    if isinstance(frame, bytes | bytearray | memoryview):
        return _HEADER.pack(_VERSION, time_s, 0, 0) + bytes(frame)
    check_pictures([frame])
    if encoding == "jpeg":
        return _HEADER.pack(_VERSION, time_s, 0, 0) + encode_image(frame, pixel_format, quality)
    height, width, _ = frame.shape
    return _HEADER.pack(_VERSION, time_s, width, height) + frame.tobytes()


class StreamReady(msgspec.Struct, tag_field="type", tag="ready", frozen=True, kw_only=True):
    """The answer to the hello, and again when another model or a changed head is in service.

    A window has ``frames`` frames. Frames need not be larger than ``short_edge`` pixels at their shorter side.
    ``heads`` are the SHA-256 of the heads that answer from now on, by their names.
    """

    session: Text
    model: Text
    frames: Annotated[int, Meta(ge=1, le=256)]
    fps: float
    stride: Annotated[int, Meta(ge=1)]
    short_edge: Count
    max_frame_bytes: Count
    heads: dict[str, Text] = {}


class WindowPrediction(msgspec.Struct, tag_field="type", tag="prediction", frozen=True, kw_only=True):
    """The predictions for the window from ``start_s`` to ``end_s`` in the times of its frames, best first.

    ``window`` counts the windows of the stream from 0. ``age_ms`` is how long ago the newest frame of the window had
    reached the service when the answer was ready. ``still``: nothing moved, and the window was classified as a check.

    ``head`` is the head that was asked for by its name, whose labels the predictions have. ``heads`` has the
    predictions of each head, if ``all`` were asked for. ``embedding`` has the features in base64, if they were asked
    for; those of the same ``sha256`` can be compared.
    """

    window: Count
    start_s: float
    end_s: float
    predictions: tuple[Prediction, ...]
    timings_ms: dict[str, float]
    age_ms: float
    still: bool = False
    head: Text | None = None
    heads: dict[str, tuple[Prediction, ...]] = {}
    embedding: str | None = None
    sha256: Text | None = None

    def __post_init__(self) -> None:
        # A pretrained encoder has only what its heads say, and its features.
        if not self.predictions and not self.heads and self.embedding is None:
            raise ValueError("no predictions")

    def features(self) -> NDArray[np.float32] | None:
        """The features, float32 ``[dim]``, if they were asked for. Raises ServiceAnswerError."""
        return None if self.embedding is None else decoded_features(self.embedding)


class WindowSkipped(msgspec.Struct, tag_field="type", tag="skipped", frozen=True, kw_only=True):
    """A window that is not classified.

    ``reason`` is overload (a newer window was due), frame (one of its frames was refused), model (its frames were
    prepared for another model) or still (nothing moved in it).
    """

    window: Count
    start_s: float
    end_s: float
    reason: Text


class StreamGap(msgspec.Struct, tag_field="type", tag="gap", frozen=True, kw_only=True):
    """No window has frames from before and after this place; ``reason`` is time or size."""

    before_s: float
    after_s: float
    reason: Text


class StreamProblem(msgspec.Struct, tag_field="type", tag="error", frozen=True, kw_only=True):
    """A frame was refused (``time_s``), or a window failed (``window``, ``start_s``, ``end_s``); the stream continues.

    Services of earlier versions do not tell which window failed.
    """

    status: int
    title: Text = ""
    detail: str = ""
    field: str | None = None
    time_s: float | None = None
    window: Count | None = None
    start_s: float | None = None
    end_s: float | None = None


class StillEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """What skipping still windows has missed, by estimate.

    Of ``windows`` in which nothing moved, ``checked`` were classified all the same, and ``missed`` of those show an
    event. ``missed_share`` estimates the share for all; it lies between ``low`` and ``high`` with 95 % confidence.
    """

    windows: Count
    checked: Count
    missed: Count
    missed_share: float | None
    low: float
    high: float


class StreamEnded(msgspec.Struct, tag_field="type", tag="ended", frozen=True, kw_only=True):
    """The last answer: what became of the frames and windows of the stream."""

    reason: str
    frames: Count
    frames_used: Count
    frames_refused: Count
    windows: Count
    predictions: Count
    skipped: dict[str, int]
    gaps: Count
    still: StillEstimate | None = None


StreamAnswer = StreamReady | WindowPrediction | WindowSkipped | StreamGap | StreamProblem | StreamEnded
