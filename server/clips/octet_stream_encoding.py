"""The octet-stream encoding: the packed pixels of all frames; the other fields are in the query of the URL."""

from __future__ import annotations

from collections.abc import Iterable

from server.clips.infer_request import InferQuery
from server.clips.request_fields import read_texts
from server.errors import InvalidError

_REQUIRED = ("width", "height")


def parse_query(query: Iterable[tuple[str, str]]) -> InferQuery:
    """Names and texts of a URL's query; raises InvalidError."""
    fields = read_texts(query, InferQuery.__struct_fields__)
    for name in _REQUIRED:
        if name not in fields:
            raise InvalidError(f"{name} is missing in the query, as in ?width=640&height=480", field=name)
    return InferQuery(**fields)


def check_byte_count(sent: int, frames: int, height: int, width: int) -> None:
    """Raises InvalidError unless ``sent`` bytes are ``frames`` frames."""
    frame_bytes = height * width * 3
    if sent == frames * frame_bytes:
        return
    size = f"of {width} x {height} pixels"
    if sent % frame_bytes == 0:
        raise InvalidError(
            f"the body holds {sent // frame_bytes} frames {size}; this model takes exactly {frames}"
            f" ({sent} bytes, not {frames * frame_bytes})",
            field="frames",
        )
    raise InvalidError(
        f"the body holds {sent} bytes, but {frames} frames {size} take {frames * frame_bytes}", field="frames"
    )
