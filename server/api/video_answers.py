"""The lines of the answer to a video."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from server.api.answers import Prediction
from server.http.problem import Problem

Seconds = Annotated[float, Meta(description="Seconds from the start of the video.")]


class WindowLine(msgspec.Struct, frozen=True, tag="window", tag_field="type"):
    """A window was classified."""

    start_s: Seconds
    end_s: Seconds
    predictions: Annotated[list[Prediction], Meta(description="The most probable actions, the most probable first.")]


class SegmentLine(msgspec.Struct, frozen=True, tag="segment", tag_field="type"):
    """An action that was seen; after the last window."""

    start_s: Seconds
    end_s: Seconds
    label: Annotated[str, Meta(description="The action.")]
    confidence: Annotated[float, Meta(description="The mean of its probability over that time.")]


class RecordingEnded(msgspec.Struct, frozen=True, tag="ended", tag_field="type"):
    """The last line of a whole answer."""

    model: Annotated[str, Meta(description="The model that labelled.")]
    head: Annotated[str | None, Meta(description="The head that labelled, if one was asked for.")]
    windows: Annotated[int, Meta(description="The number of windows.")]
    segments: Annotated[int, Meta(description="The number of segments.")]


class ErrorLine(msgspec.Struct, frozen=True, tag="error", tag_field="type"):
    """The last line of an answer that could not be finished: what would have been answered before the first window."""

    problem: Problem


Line = WindowLine | SegmentLine | RecordingEnded | ErrorLine
