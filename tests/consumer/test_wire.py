from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.wire import ClipBody, Problem


@given(
    count=st.integers(1, 20),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    top_k=st.none() | st.integers(1, 9),
    clip_id=st.text(),
)
def test_the_body_is_the_json_of_the_contract_and_as_long_as_it_says(
    count: int, height: int, width: int, top_k: int | None, clip_id: str
) -> None:
    random = np.random.default_rng(0)
    pictures = tuple(random.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count))
    body = ClipBody(pictures, top_k, clip_id)
    sent = b"".join(body.chunks())
    assert body.headers == {"Content-Type": "application/json", "Content-Length": str(len(sent))}
    read = json.loads(sent)
    assert [base64.b64decode(frame, validate=True) for frame in read.pop("frames")] == [p.tobytes() for p in pictures]
    options = {"clip_id": clip_id, "width": width, "height": height, "format": "RGB"}
    assert read == (options if top_k is None else {**options, "top_k": top_k})


def test_a_body_can_be_sent_again() -> None:
    body = ClipBody((np.zeros((2, 2, 3), np.uint8),), None, "a")
    assert list(body.chunks()) == list(body.chunks())


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (422, b'{"title": "T", "detail": "D", "field": "frames", "more": 1}', Problem("T", "D", "frames")),
        (503, b'{"title": "T"}', Problem("T")),
        (502, b"<html>", Problem("Bad Gateway")),
        (500, b"{}", Problem("Internal Server Error")),
        (500, b'{"title": 5}', Problem("Internal Server Error")),
        (599, b"", Problem("unknown status")),
    ],
)
def test_any_error_body_reads_as_a_problem(status: int, body: bytes, expected: Problem) -> None:
    assert Problem.read(status, body) == expected
