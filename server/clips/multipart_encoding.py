"""The multipart encoding: a part named ``frames`` for each frame, and a part of text for each other field."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from server.clips.infer_request import InferParts
from server.clips.request_fields import ClipRequest, Offered, checked, read_texts
from server.errors import InvalidError, UnreadableError

MAX_PARTS = 1000
MAX_PART_HEADERS = 8
MAX_PART_HEADER_BYTES = 4096
MAX_TEXT_BYTES = 4096

_MODEL = b"model"
_FRAMES, *_TEXTS = InferParts.__struct_fields__
# The parser copies its input, so it gets large bodies in pieces.
_PIECE_BYTES = 2**20


def parse_parts(
    body: bytearray, content_type: str, *, frames: int, offered: Offered
) -> tuple[ClipRequest, list[bytes]]:
    """Read a multipart body, whose boundary is in ``content_type``, for an engine of that many frames.

    Raises:
        UnreadableError: not multipart, or cut off.
        InvalidError: multipart, but not a request for this engine.
    """
    try:
        parts = list(_parts(body, _parser(content_type), frames))
    except MultipartError as error:
        error.with_traceback(None)  # The parser holds its error, whose traceback would hold the parser and the body.
        raise UnreadableError(f"the body is not multipart/form-data: {_reason(error)}") from None
    sent = InferParts(
        frames=[content for name, content in parts if name == _FRAMES],
        **read_texts(_texts(parts), InferParts.__struct_fields__),
    )
    asked = checked(sent, offered)
    if len(sent.frames) != frames:
        raise InvalidError(
            f"there are {len(sent.frames)} frames, each a part named frames; this model takes exactly {frames}",
            field=_FRAMES,
        )
    return asked, sent.frames


def model_in_parts(body: bytearray, content_type: str) -> str | None:
    """The model that a multipart body names; None without one, and for a body that cannot be read."""
    if _MODEL not in body:
        return None
    try:
        parts = list(_parts(body, _parser(content_type), 0))
        return next((text for name, text in _texts(parts) if name == _MODEL.decode()), None)
    except MultipartError as error:
        error.with_traceback(None)
    except (InvalidError, UnreadableError):
        pass
    return None


def _parser(content_type: str) -> PushMultipartParser:
    boundary = parse_options_header(content_type)[1].get("boundary")
    if not boundary:
        raise UnreadableError(
            "Content-Type names no boundary, as in multipart/form-data; boundary=...", field="Content-Type"
        )
    return PushMultipartParser(boundary, max_header_size=MAX_PART_HEADER_BYTES, max_header_count=MAX_PART_HEADERS)


def _parts(body: bytearray, parser: PushMultipartParser, frames: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of each part, in their order."""
    count, name = 0, ""
    content: list[bytes] = []
    for event in _events(body, parser):
        if isinstance(event, MultipartSegment):
            count, name, content = count + 1, event.name, []
            if count > MAX_PARTS:
                raise InvalidError(
                    f"the body has over {MAX_PARTS} parts; this model takes exactly {frames} frames", field=_FRAMES
                )
        elif event is None:
            yield name, content[0] if len(content) == 1 else b"".join(content)
        else:
            content.append(event)


def _events(body: bytearray, parser: PushMultipartParser) -> Iterator[MultipartSegment | bytes | None]:
    with parser, memoryview(body) as view:
        for at in range(0, len(view), _PIECE_BYTES):
            yield from parser.parse(bytes(view[at : at + _PIECE_BYTES]))


def _texts(parts: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, str]]:
    """Name and text of each part that is no frame; the text of an unknown part is left out."""
    for name, content in parts:
        if name != _FRAMES:
            yield name, _text(name, content) if name in _TEXTS else ""


def _text(name: str, content: bytes) -> str:
    if len(content) > MAX_TEXT_BYTES:
        raise InvalidError(f"{name} has {len(content)} bytes; accepted: at most {MAX_TEXT_BYTES}", field=name)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UnreadableError(f"{name} is not UTF-8: {error.reason}", field=name) from None


def _reason(error: MultipartError) -> str:
    text = str(error.args[0]) if error.args else type(error).__name__
    return text[:1].lower() + text[1:]
