"""Requests that are too large, or that decompress to far more than they send, are refused at little cost."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from export.demo.rendering.clips import Clip
from tests.live_server import LiveServer
from tests.server.conftest import Post
from tests.server.peers import resident_bytes
from tests.server.problems import FRAMES, assert_problem, assert_still_serving, png_header
from tests.server.requests import ENCODINGS, image_body

JSON_TYPE = {"Content-Type": "application/json"}


async def test_body_of_100_mb_is_refused(post: Post, clip: Clip) -> None:
    answer = await post(data=b" " * 100_000_000, headers=JSON_TYPE)
    assert_problem(answer, 413)
    assert "100000000 bytes" in answer.body["detail"]
    await assert_still_serving(post, clip)


async def test_chunked_body_of_100_mb_is_refused(post: Post, clip: Clip) -> None:
    async def chunks() -> Any:
        for _ in range(100):
            yield b" " * 1_000_000

    answer = await post(data=chunks(), headers=JSON_TYPE)
    assert_problem(answer, 413)
    await assert_still_serving(post, clip)


@pytest.fixture(scope="module")
def compressed() -> bytes:
    """200 MB of spaces, compressed to 200 kB."""
    return zlib.compress(b" " * 200_000_000, 9)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_compressed_bomb_is_refused(post: Post, clip: Clip, compressed: bytes, encoding: str) -> None:
    sent = ENCODINGS[encoding](FRAMES)
    headers = {"Content-Type": sent.content_type, "Content-Encoding": "deflate"}
    answer = await post(sent, data=compressed, headers=headers)
    assert answer.status in (400, 413)
    await assert_still_serving(post, clip)


async def test_memory_does_not_grow_with_image_bombs(live_server: LiveServer, post: Post) -> None:
    bomb = image_body([png_header(60_000, 60_000)] * 16)
    await post(json=bomb)
    before = resident_bytes(live_server)
    for _ in range(50):
        await post(json=bomb)
    assert resident_bytes(live_server) - before < 20_000_000
