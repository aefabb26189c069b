from __future__ import annotations

import pytest

from consumer.client.wire import Model, Problem


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (422, b'{"title": "T", "detail": "D", "field": "frames", "more": 1}', Problem("T", "D", "frames")),
        (503, b'{"title": "T"}', Problem("T")),
        (502, b"<html>", Problem("Bad Gateway")),
        (500, b"{}", Problem("Internal Server Error")),
        (500, b'{"title": 5}', Problem("Internal Server Error")),
        (599, b"", Problem("unknown status")),
        (500, '{"title": "Ger\u00e4t"}'.encode("latin-1"), Problem("Internal Server Error")),
        (500, b'{"title": ' + b"[" * 100_000, Problem("Internal Server Error")),
        (500, b'{"title": "a", "detail": "' + b"[" * 9999 + b'"}', Problem("a", "[" * 500)),
        (500, b'{"title": "a\\n\\u001b[2J"}', Problem("a\\n\\x1b[2J")),
        (500, b'["title"]', Problem("Internal Server Error")),
    ],
)
def test_any_error_body_decodes_to_a_problem(status: int, body: bytes, expected: Problem) -> None:
    assert Problem.read(status, body) == expected


@pytest.mark.parametrize(("crop", "short_edge_px"), [(256, 292), (384, 438), (224, 256), (None, None)])
def test_model_short_edge(crop: int | None, short_edge_px: int | None) -> None:
    assert Model(frames=16, crop=crop).short_edge_px == short_edge_px
