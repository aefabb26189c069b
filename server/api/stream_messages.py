"""The texts of a stream in both directions, as JSON; ``server/streams/frames.py`` reads the binary messages."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engines.clip import PixelFormat
from server.api.answers import Prediction, TimingsMs
from server.clips.infer_request import EncodingFormat
from server.errors import InvalidError, shown
from server.streams.events import GapReason, SkipReason
from server.streams.options import Policy

STREAM_PATH = "/api/v1/stream"
# What is done about windows in which nothing moves.
Still = Literal["classify", "skip"]


class Hello(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The first message of a client.

    ``model``: the name of the model that answers, by default the first one of the service.
    ``fps`` frames a second are sampled; a window begins every ``stride`` sampled frames. ``policy``: with `latest` a
    window that is due before the engine has taken the one before replaces it; with `wait` the service stops reading.
    ``weight``: the share of the engine beside other streams when there is more than it can do. ``max_gap_s``: seconds
    without a frame after which the next window begins anew. ``format``: the order of the channels of packed pixels.
    ``key``: an API key, for clients that can set no headers. ``still``: with `skip`, windows in which less than
    ``still_threshold`` grey levels move are not classified, except for the share ``still_check`` of them, drawn by
    chance. From those the service estimates how many of them show an event: an answer whose most probable label has at
    least the confidence ``event_threshold`` and is one of ``event_labels`` (without any: whatever its label is, except
    for the `unknown` of a head). ``head``: the name of a head with whose labels to answer, or `all` for the answers of
    every head beside those of the model. ``embedding``: send the features of each window, too, as numbers (`float`) or
    as base64 of little-endian float32 (`base64`).
    """

    name: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    model: str | None = None
    fps: Annotated[float, Meta(ge=0.1, le=120)] = 3.0
    stride: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    top_k: Annotated[int, Meta(ge=1)] | None = None
    policy: Policy = "latest"
    format: PixelFormat = "BGR"
    weight: Annotated[float, Meta(ge=0.01, le=100)] = 1.0
    max_gap_s: Annotated[float, Meta(ge=0.01, le=3600)] | None = None
    key: str | None = None
    still: Still = "classify"
    still_threshold: Annotated[float, Meta(ge=0, le=255)] = 4.5
    still_check: Annotated[float, Meta(ge=0, le=1)] = 0.02
    event_threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    event_labels: Annotated[list[str], Meta(max_length=1000)] = []
    head: str | None = None
    embedding: EncodingFormat | None = None


class Ready(msgspec.Struct, tag_field="type", tag="ready", omit_defaults=True, kw_only=True):
    """The answer to the hello, and again when another model or a changed head is in service: what to send.

    ``short_edge`` is the shorter side in pixels to which frames are resized; larger frames only cost more. ``labels``:
    the number of labels of the predictions. ``heads``: the heads that answer from now on by name, each with the SHA-256
    that `GET /api/v1/models` lists.
    """

    session: str
    name: str
    model: str
    labels: int
    frames: int
    fps: float
    stride: int
    top_k: int
    policy: Policy
    max_gap_s: float
    still: Still
    short_edge: int
    crop: int
    max_frame_bytes: int
    head: str | None = None
    heads: dict[str, str] | None = None


class WindowPrediction(msgspec.Struct, tag_field="type", tag="prediction", omit_defaults=True, kw_only=True):
    """The answer for a window: from ``start_s`` to ``end_s`` in the times that the client gave to its frames.

    ``window`` counts the windows of the stream from 0, also those that were skipped. ``age_ms``: how long ago the
    newest frame of the window had arrived when the answer was ready. ``still``: nothing moved in the window, which is
    one of those that are classified all the same. ``head``: the head that the predictions are of, where the hello named
    one. ``heads``: the predictions of every head, where it asked for all; ``predictions`` are then those of the model,
    which may have none. ``embedding``: the features, where it asked for them; those of the same ``sha256`` can be
    compared.
    """

    window: int
    start_s: float
    end_s: float
    predictions: list[Prediction]
    timings_ms: TimingsMs
    age_ms: float
    still: bool
    head: str | None = None
    heads: dict[str, list[Prediction]] | None = None
    embedding: list[float] | str | None = None
    sha256: str | None = None


class Skipped(msgspec.Struct, tag_field="type", tag="skipped", kw_only=True):
    """A window that is not classified.

    ``reason``: a newer one was due (`overload`), one of its frames was refused (`frame`), its frames were prepared for
    the model before (`model`), or nothing moved in it (`still`).
    """

    window: int
    start_s: float
    end_s: float
    reason: SkipReason


class Gap(msgspec.Struct, tag_field="type", tag="gap", kw_only=True):
    """No window holds frames from before and after this gap; ``reason`` says what broke the stream."""

    before_s: float
    after_s: float
    reason: GapReason


class StreamProblem(msgspec.Struct, tag_field="type", tag="error", omit_defaults=True, kw_only=True):
    """What was wrong; the members are those of problem+json, except for its ``type``, which is ``problem`` here.

    ``time_s`` is the time of the frame at fault. If a window failed, ``window``, ``start_s`` and ``end_s`` say which
    one, as in a prediction. The stream goes on, unless it is closed right after.
    """

    problem: str
    title: str
    status: int
    detail: str
    request_id: str | None = None
    field: str | None = None
    time_s: float | None = None
    window: int | None = None
    start_s: float | None = None
    end_s: float | None = None


class StillSummary(msgspec.Struct, kw_only=True):
    """What passing over still windows has missed, by estimate.

    Of the ``windows`` in which nothing moved, ``checked`` were classified all the same, and ``missed`` of those show an
    event. ``missed_share`` is the estimate for all of them, null before the first check; it lies between ``low`` and
    ``high`` with 95 % confidence.
    """

    windows: int
    checked: int
    missed: int
    missed_share: float | None
    low: float
    high: float


class Ended(msgspec.Struct, tag_field="type", tag="ended", kw_only=True):
    """The last message: what became of the frames and windows of the stream; ``still`` is null without a gate."""

    reason: str
    frames: int
    frames_used: int
    frames_refused: int
    windows: int
    predictions: int
    skipped: dict[str, int]
    gaps: int
    still: StillSummary | None


class StreamSummary(msgspec.Struct, kw_only=True):
    """An open stream; ``since_s`` is Unix time, ``prediction`` the most probable action of its latest answer.

    ``fps`` frames a second are sampled of the ``fps_in`` that came lately.
    """

    session: str
    name: str
    since_s: float
    fps: float
    fps_in: float
    frames: int
    windows: int
    predictions: int
    skipped: dict[str, int]
    gaps: int
    still: StillSummary | None
    prediction: Prediction | None
    age_ms: float | None
    total_ms: float | None


class OpenStreams(msgspec.Struct):
    """The streams that are open, the oldest first."""

    streams: list[StreamSummary]


class End(msgspec.Struct, tag_field="type", tag="end", forbid_unknown_fields=True):
    """The client sends no more frames; the windows that were begun are answered, then the stream is closed."""


Answer = Ready | WindowPrediction | Skipped | Gap | StreamProblem | Ended


def parse_hello(text: str) -> Hello:
    """Raises InvalidError, which says which field is wrong."""
    try:
        return msgspec.json.decode(text, type=Hello)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidError(f"the first message is no hello: {shown(str(error))}") from None


def parse_end(text: str) -> None:
    """Raises InvalidError unless ``text`` is the only text that is accepted after the hello."""
    try:
        msgspec.json.decode(text, type=End)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidError(f'a text message after the hello must be {{"type": "end"}}: {shown(str(error))}') from None
