from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from aiohttp import BodyPartReader, ClientSession, web
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from consumer.client.encodings import Body, Encoding, Options, Picture, default_encoding, encode_clip
from consumer.errors import ClipError
from tests.consumer.peers import Serve

SIDES = st.integers(1, 30)
TOP_K = st.none() | st.integers(1, 9)


def noise(count: int, height: int, width: int) -> tuple[Picture, ...]:
    random = np.random.default_rng(0)
    return tuple(random.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count))


def content(body: Body) -> bytes:
    sent = b"".join(body.chunks())
    assert body.headers == {"Content-Type": body.content_type, "Content-Length": str(len(sent))}
    return sent


@given(count=st.integers(1, 20), height=SIDES, width=SIDES, top_k=TOP_K, clip_id=st.text())
def test_json_body_matches_the_api_contract(
    count: int, height: int, width: int, top_k: int | None, clip_id: str
) -> None:
    pictures = noise(count, height, width)
    body = encode_clip(pictures, "json", Options(clip_id, top_k))
    read = json.loads(content(body))
    assert (body.content_type, body.query) == ("application/json", {})
    assert [base64.b64decode(frame, validate=True) for frame in read.pop("frames")] == [p.tobytes() for p in pictures]
    options = {"clip_id": clip_id, "width": width, "height": height, "format": "RGB"}
    assert read == (options if top_k is None else {**options, "top_k": top_k})


@given(count=st.integers(1, 20), height=SIDES, width=SIDES, top_k=TOP_K)
def test_raw_body_is_the_packed_pixels(count: int, height: int, width: int, top_k: int | None) -> None:
    pictures = noise(count, height, width)
    body = encode_clip(pictures, "raw", Options("a b&c", top_k, "BGR"))
    assert content(body) == b"".join(picture.tobytes() for picture in pictures)
    assert body.content_type == "application/octet-stream"
    options = {"clip_id": "a b&c", "width": str(width), "height": str(height), "format": "BGR"}
    assert body.query == (options if top_k is None else {**options, "top_k": str(top_k)})


@pytest.mark.parametrize("pixel_format", ["RGB", "BGR"])
async def test_jpeg_body_is_a_form_with_one_part_per_frame(serve: Serve, pixel_format: str) -> None:
    ramp = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
    colour = np.stack([ramp, np.full_like(ramp, 128), 255 - ramp], axis=-1)
    pictures = [colour, colour[::-1].copy()]
    order = slice(None) if pixel_format == "RGB" else slice(None, None, -1)
    sent = [np.ascontiguousarray(picture[..., order]) for picture in pictures]
    body = encode_clip(sent, "jpeg", Options("an id", 3, pixel_format))  # type: ignore[arg-type]
    parts = await read_form(body, serve)
    assert [name for name, _ in parts] == ["clip_id", "top_k", "frames", "frames"]
    assert [content.decode() for _, content in parts[:2]] == ["an id", "3"]
    for picture, (_, image) in zip(pictures, parts[2:], strict=True):
        read = np.asarray(Image.open(io.BytesIO(image))).astype(int)
        assert np.abs(read - picture).mean() < 3


async def read_form(body: Body, serve: Serve) -> list[tuple[str | None, bytes]]:
    """The parts as another implementation reads them: aiohttp's own."""
    parts = []

    async def infer(request: web.Request) -> web.Response:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            assert isinstance(part, BodyPartReader)
            parts.append((part.name, bytes(await part.read())))
        return web.Response()

    async with ClientSession() as session:
        url = await serve(infer) + "api/v1/infer"
        async with session.post(url, data=content(body), headers=body.headers) as reply:
            assert reply.status == 200
    return parts


def test_body_can_be_sent_twice() -> None:
    for encoding in ("raw", "jpeg", "json"):
        body = encode_clip(noise(2, 8, 8), encoding, Options("a"))  # type: ignore[arg-type]
        assert b"".join(body.chunks()) == b"".join(body.chunks())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8000", "raw"),
        ("http://127.0.0.1", "raw"),
        ("http://127.8.0.1:1/x", "raw"),
        ("http://[::1]:8000", "raw"),
        ("http://camera.localhost", "raw"),
        ("http://gpu:8000", "jpeg"),
        ("https://10.0.0.1", "jpeg"),
        ("http://localhost.example.org", "jpeg"),
    ],
)
def test_default_encoding_is_raw_on_loopback_and_jpeg_elsewhere(url: str, expected: Encoding) -> None:
    assert default_encoding(url) == expected


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        ([], "has no frames"),
        ([np.zeros((4, 4, 3), np.float32)], r"frame 0 is float32 \[4, 4, 3\]"),
        ([np.zeros((4, 4), np.uint8)], r"frame 0 is uint8 \[4, 4\]"),
        ([np.zeros((4, 4, 4), np.uint8)], r"frame 0 is uint8 \[4, 4, 4\]"),
        ([np.zeros((0, 4, 3), np.uint8)], r"frame 0 is uint8 \[0, 4, 3\]"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], r"frame 1 is \[4, 5, 3\], frame 0 is"),
    ],
)
def test_invalid_clip_raises_before_sending(pictures: list[Picture], said: str) -> None:
    for encoding in ("raw", "jpeg", "json"):
        with pytest.raises(ClipError, match=said + ".*help: "):
            encode_clip(pictures, encoding, Options("a"))  # type: ignore[arg-type]
