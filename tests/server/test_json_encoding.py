"""The fast reader of JSON bodies gives the same result as a complete JSON parser."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.clips.json_encoding import parse_json
from server.clips.request_fields import Offered
from server.errors import InvalidError, RequestError

FRAMES = 3
LABELS = 11
# Bytes of frames, above and below the length from which strings are cut out before parsing.
_LENGTHS = (0, 3, 700, 768, 900, 3000)
_TOKENS = (
    b'"',
    b"\\",
    b'\\"',
    b"\\/",
    b"-1",
    b",",
    b"]",
    b"}",
    b"[",
    b'"frames":',
    b'"clip_id":"',
    b" ",
    b"\x00",
    b"\xff",
)


def _read(body: bytes) -> tuple[Any, list[bytes]] | None:
    """The fields and the frames, or None if the body is refused."""
    try:
        asked, frames = parse_json(bytearray(body), frames=FRAMES, offered=Offered(LABELS))
        return (asked.size, asked.pixel_format, asked.top_k, asked.clip_id), [frames[i] for i in range(len(frames))]
    except RequestError:
        return None


def _expected(body: bytes) -> list[bytes] | None:
    """The frames as the standard library reads them, or None if it cannot or a field is there twice."""
    try:
        fields = json.loads(body, object_pairs_hook=_without_repetition)
        return [base64.b64decode(frame, validate=True) for frame in fields["frames"]]
    except (ValueError, KeyError, TypeError):
        return None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is there twice")
    return fields


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    rng = random.Random(draw(st.integers(0, 2**32)))
    frames = [base64.b64encode(rng.randbytes(draw(st.sampled_from(_LENGTHS)))).decode() for _ in range(FRAMES)]
    fields: dict[str, Any] = {
        "frames": frames,
        "clip_id": draw(st.sampled_from(("a", "x" * 200, "y" * 2000, '"', "-1"))),
    }
    if draw(st.booleans()):
        fields = dict(reversed(fields.items()))
    body = json.dumps(fields, indent=draw(st.sampled_from((None, 1)))).encode()
    if draw(st.booleans()):
        body = body.replace(b"/", b"\\/")
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(body)))
        gone = draw(st.sampled_from((0, 0, 1, 500)))
        body = body[:at] + draw(st.sampled_from(_TOKENS)) + body[at + gone :]
    return body


@settings(max_examples=1000, deadline=None)
@given(bodies())
def test_accepted_bodies_are_read_as_by_a_json_parser(body: bytes) -> None:
    read, expected = _read(body), _expected(body)
    if read is not None:
        assert read[1] == expected
        assert read[0][3] == json.loads(body).get("clip_id", read[0][3])
    elif expected is not None and len(expected) == FRAMES:
        # Refused for another reason: an unknown or too long field, or syntax that only the standard library accepts.
        assert _read(json.dumps(json.loads(body)).encode()) is None


def _long(value: str = "A" * 4000) -> str:
    return f'"{value}"'


@pytest.mark.parametrize(
    "body",
    [
        f'{{"frames": [{_long()}, {_long()}, -1], "clip_id": {_long()}}}',
        f'{{"frames": [{_long()}, {_long()}, {_long()}], "width": {_long()}, "height": 4}}',
        f'{{"frames": [{_long()}, {_long()}, {_long()}], "top_k": {_long()}}}',
        f'{{"frames": [{_long()}, {_long()}, -1], "top_k": {_long()}}}',
        f'{{"frames": [{_long()}, {_long()}], {_long()}: 1}}',
        f'{{"frames": [{_long()}, {_long()}, {_long()}]',
        f'{{"frames": [{_long()} {_long()} {_long()}]}}',
        f'{{"frames": [{_long("A" * 3999 + chr(92))}, {_long()}, {_long()}]}}',
        '"' * 100_000,
        " " * 100_000 + "{",
    ],
)
def test_malformed_frames_are_refused(body: str) -> None:
    assert _read(body.encode()) is None


@pytest.mark.parametrize("length", [12, 4000])
@pytest.mark.parametrize(
    ("name", "repeated"),
    [
        ("width", '"width": 4, "height": 4, "width": 4'),
        ("clip_id", '"clip_id": "width", "width": 4, "height": 4, "clip_id": "a:b"'),
        ("top_k", '"top_k": null, "t\\u006fp_k": 1'),
        ("format", '"format": "RGB", "format": "BGR", "clip_id": "\\"format\\": 1"'),
    ],
)
def test_repeated_field_is_refused_by_its_name(length: int, name: str, repeated: str) -> None:
    frame = _long("A" * length)
    body = f'{{"frames": [{frame}, {frame}, {frame}], {repeated}}}'
    with pytest.raises(InvalidError, match=f"^{name} is there twice$") as refused:
        parse_json(bytearray(body.encode()), frames=FRAMES, offered=Offered(LABELS))
    assert refused.value.field == name


@pytest.mark.parametrize(
    "first", ["[1, 2, 3]", '["A:", {"a": ":", "a": {}}, [":"]]', f"[{_long()}, {_long()}, {_long()}]"]
)
def test_repeated_frames_are_refused(first: str) -> None:
    body = f'{{"frames": {first}, "frames": [{_long()}, {_long()}, {_long()}]}}'
    with pytest.raises(InvalidError, match="frames is there twice"):
        parse_json(bytearray(body.encode()), frames=FRAMES, offered=Offered(LABELS))


def test_colons_in_values_are_no_fields() -> None:
    body = {"frames": ["AAAA"] * FRAMES, "clip_id": 'camera:7 "width": 3, "width": 4'}
    asked, _ = parse_json(bytearray(json.dumps(body).encode()), frames=FRAMES, offered=Offered(LABELS))
    assert asked.clip_id == body["clip_id"]
