"""How a client wants its video sampled and answered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from archive.decoding.job import Sampling
from server.clips.request_fields import read_texts
from server.errors import InvalidError


class RecordingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The query of a request; ``stride`` of None is half a window, ``top_k`` of None the default of clips."""

    fps: Annotated[
        float, Meta(ge=0.01, le=240, description="Frames to sample per second; for a model not trained at 3.")
    ] = Sampling().fps
    stride: (
        Annotated[
            int,
            Meta(ge=1, le=100_000, description="Sampled frames between the starts of two windows; else half a window."),
        ]
        | None
    ) = None
    top_k: Annotated[int, Meta(ge=1, description="The number of predictions of each window.")] | None = None
    head: Annotated[str, Meta(description="The head that labels, in place of the model itself.")] | None = None
    model: Annotated[str, Meta(description="The model, where several are in service.")] | None = None

    @property
    def sampling(self) -> Sampling:
        return Sampling(fps=self.fps, stride=self.stride)


FIELDS: Sequence[str] = RecordingRequest.__struct_fields__


def parse_recording_request(query: Iterable[tuple[str, str]]) -> RecordingRequest:
    """From names and texts of a URL's query; raises InvalidError."""
    fields: dict[str, Any] = read_texts(query, FIELDS)
    for name, value in fields.items():
        try:
            msgspec.convert({name: value}, RecordingRequest, strict=False)
        except msgspec.ValidationError as error:
            reason = str(error).partition(" - at")[0]
            raise InvalidError(f"{name} is {str(value)[:32]!r}: {reason[:1].lower()}{reason[1:]}", field=name) from None
    return msgspec.convert(fields, RecordingRequest, strict=False)
