"""Wrong octet streams get a status and a message with field and remedy, and the next request is served."""

from __future__ import annotations

from typing import Any

import pytest

from export.demo.rendering.clips import Clip
from tests.live_server import LiveServer
from tests.server.conftest import Post
from tests.server.peers import Peer
from tests.server.problems import FRAME_BYTES, PIXELS, Wrong, assert_explained, assert_still_serving
from tests.server.requests import Sent


def _octets(body: bytes, query: str = "width=16&height=12") -> Sent:
    return Sent("application/octet-stream", body, f"?{query}")


BAD_OCTETS: dict[str, Wrong] = {
    "empty": (_octets(b""), 422, "frames", ("0 frames", "exactly 16")),
    "15 frames": (_octets(PIXELS[:-FRAME_BYTES]), 422, "frames", ("15 frames", "exactly 16", "8640", "9216")),
    "17 frames": (_octets(PIXELS + PIXELS[:FRAME_BYTES]), 422, "frames", ("17 frames", "exactly 16")),
    "a byte too few": (_octets(PIXELS[:-1]), 422, "frames", ("9215 bytes", "9216")),
    "a byte too many": (_octets(PIXELS + b"x"), 422, "frames", ("9217 bytes", "9216")),
    "no query": (Sent("application/octet-stream", PIXELS), 422, "width", ("width is missing", "?width=")),
    "no height": (_octets(PIXELS, "width=16"), 422, "height", ("height is missing",)),
    "width a word": (_octets(PIXELS, "width=wide&height=12"), 422, "width", ("'wide'", "whole number")),
    "width a fraction": (_octets(PIXELS, "width=16.0&height=12"), 422, "width", ("'16.0'", "whole number")),
    "width empty": (_octets(PIXELS, "width=&height=12"), 422, "width", ("''", "whole number")),
    "width zero": (_octets(PIXELS, "width=0&height=12"), 422, "width", ("0", "1 to")),
    "height negative": (_octets(PIXELS, "width=16&height=-12"), 422, "height", ("-12", "1 to")),
    "width beyond reason": (_octets(PIXELS, "height=12&width=" + "9" * 5000), 422, "width", ("whole number",)),
    "width twice": (_octets(PIXELS, "width=16&height=12&width=16"), 422, "width", ("twice",)),
    "unknown format": (_octets(PIXELS, "width=16&height=12&format=YUV"), 422, "format", ("YUV", "BGR, RGB")),
    "top_k too large": (_octets(PIXELS, "width=16&height=12&top_k=99"), 422, "top_k", ("99", "label count")),
    "top_k a word": (_octets(PIXELS, "width=16&height=12&top_k=all"), 422, "top_k", ("'all'", "whole number")),
    "clip_id too long": (_octets(PIXELS, "width=16&height=12&clip_id=" + "x" * 257), 422, "clip_id", ("257", "256")),
    "query misspelt": (_octets(PIXELS, "width=16&height=12&topk=3"), 422, "topk", ("top_k", "clip_id")),
    "frames in the query": (_octets(PIXELS, "width=16&height=12&frames=16"), 422, "frames", ("unknown field",)),
    "clip too large": (_octets(PIXELS, "width=16384&height=16384"), 413, "frames", ("16384 x 16384", "at most")),
    "larger than a body": (_octets(PIXELS, "width=1280&height=1280"), 413, "frames", ("1280 x 1280", "at most")),
}


@pytest.mark.parametrize("name", BAD_OCTETS)
async def test_wrong_octet_stream_is_explained(post: Post, clip: Clip, name: str) -> None:
    sent, status, field, words = BAD_OCTETS[name]
    assert_explained(await post(sent), status, field, words)
    await assert_still_serving(post, clip)


@pytest.mark.parametrize(
    ("sent_bytes", "words"),
    [
        (9215, ("9215 bytes", "9216")),
        (9217, ("9217 bytes", "9216")),
        (9216 - FRAME_BYTES, ("15 frames", "exactly 16")),
        (9216 + FRAME_BYTES, ("17 frames", "exactly 16")),
        (2_000_000, ("2000000 bytes", "9216")),
        (0, ("0 frames", "exactly 16")),
    ],
)
async def test_chunked_octet_stream_of_wrong_length_is_explained(
    post: Post, clip: Clip, sent_bytes: int, words: tuple[str, ...]
) -> None:
    async def chunks() -> Any:
        for at in range(0, sent_bytes, 4000):
            yield bytes(min(4000, sent_bytes - at))

    answer = await post(_octets(b""), data=chunks())
    assert_explained(answer, 422, "frames", words)
    await assert_still_serving(post, clip)


async def test_octet_stream_of_wrong_length_is_refused_before_its_body(live_server: LiveServer) -> None:
    for length, status in ((len(PIXELS) - 1, 422), (10**9, 413)):
        peer = await Peer.connect(live_server)
        await peer.write(_octets(PIXELS).head("Expect: 100-continue", length=length))
        assert (await peer.answer()).status == status  # and no "100 Continue" before it
        peer.close()
