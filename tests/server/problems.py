"""Parts of wrong requests, and assertions about their answers."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from export.demo.rendering.clips import Clip
from tests.server.conftest import Answer, Post
from tests.server.requests import Sent, raw_body

FRAMES = np.random.default_rng(0).integers(0, 256, (16, 12, 16, 3), np.uint8)
PIXELS = FRAMES.tobytes()
FRAME_BYTES = 12 * 16 * 3

# Request, expected status, field at fault, words that the message must contain.
Wrong = tuple[Sent, int, str | None, tuple[str, ...]]


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size of ``width`` x ``height`` and contains no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def assert_problem(answer: Answer, status: int) -> None:
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert {"type", "title", "status", "detail", "request_id"} <= answer.body.keys()
    assert answer.body["status"] == status
    assert answer.body["request_id"] == answer.headers["X-Request-Id"]


def assert_explained(answer: Answer, status: int, field: str | None, words: tuple[str, ...]) -> None:
    assert_problem(answer, status)
    assert answer.body.get("field") == field
    for word in words:
        assert word in answer.body["detail"]


async def assert_still_serving(post: Post, clip: Clip) -> None:
    answer = await post(json=raw_body(clip.frames))
    assert answer.status == 200
    assert answer.body["predictions"][0]["label"] == clip.label
