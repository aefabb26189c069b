"""Wrong requests: each its own status, a message that names field and remedy, and no harm to the next one."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.demo.clips import Clip
from tests.live_server import LiveServer
from tests.server.conftest import Answer, Post
from tests.server.peers import Peer
from tests.server.requests import (
    BOUNDARY,
    ENCODINGS,
    Sent,
    encode,
    image_body,
    multipart_body,
    parts_request,
    raw_body,
    text,
)

FRAMES = np.random.default_rng(0).integers(0, 256, (16, 12, 16, 3), np.uint8)
JSON_TYPE = {"Content-Type": "application/json"}


def _png_header(width: int, height: int) -> bytes:
    """A PNG that says it is ``width`` x ``height`` and has no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def _good(**changes: Any) -> dict[str, Any]:
    return raw_body(FRAMES) | changes


def _with_frame(frame: Any, index: int = 3, **changes: Any) -> dict[str, Any]:
    body = _good(**changes)
    body["frames"][index] = frame
    return body


def _truncated(extension: str) -> dict[str, Any]:
    images = encode(FRAMES, extension)
    images[5] = images[5][: int(len(images[5]) * 0.6)]
    return image_body(images)


def _sizes_differ() -> dict[str, Any]:
    images = encode(FRAMES, ".png")
    images[2] = encode(FRAMES[:, :8], ".png")[2]
    return image_body(images)


# name: (body, status, field, words that the message must have)
BAD_BODIES: dict[str, tuple[Any, int, str | None, tuple[str, ...]]] = {
    "array": ([1, 2], 422, None, ("object", "array")),
    "no frames": ({"width": 16, "height": 12}, 422, "frames", ("frames is missing",)),
    "frames empty": (_good(frames=[]), 422, "frames", ("0 frames", "exactly 16")),
    "frames null": (_good(frames=None), 422, "frames", ("array", "null")),
    "15 frames": (raw_body(FRAMES[:15]), 422, "frames", ("15 frames", "exactly 16")),
    "17 frames": (raw_body(np.concatenate([FRAMES, FRAMES[:1]])), 422, "frames", ("17 frames", "exactly 16")),
    "frame a number": (_with_frame(7), 422, "frames[3]", ("base64",)),
    "frame an object": (_with_frame({"data": ""}), 422, "frames[3]", ("base64",)),
    "bad base64": (_with_frame("@" * 768), 400, "frames[3]", ("base64",)),
    "base64 cut off": (_with_frame(text(FRAMES[0].tobytes())[:-1]), 400, "frames[3]", ("base64",)),
    "base64 not ASCII": (_with_frame("ü" * 100), 400, "frames[3]", ("base64",)),
    "empty frame": (_with_frame(""), 422, "frames[3]", ("0 bytes", "576")),
    "too few bytes": (_with_frame(text(b"x" * 575)), 422, "frames[3]", ("575 bytes", "576")),
    "too many bytes": (_good(width=15), 422, "frames[0]", ("576 bytes", "540")),
    "truncated JPEG": (_truncated(".jpg"), 400, "frames[5]", ("JPEG", "truncated")),
    "truncated PNG": (_truncated(".png"), 400, "frames[5]", ("PNG", "truncated")),
    "truncated WebP": (_truncated(".webp"), 400, "frames[5]", ("WebP",)),
    "JPEG signature only": (_with_frame(text(b"\xff\xd8\xff"), 0), 400, "frames[0]", ("JPEG",)),
    "GIF": (image_body([b"GIF89a" + b"x" * 99] * 16), 422, "frames[0]", ("JPEG, PNG or WebP",)),
    "raw without size": ({"frames": _good()["frames"]}, 422, "frames[0]", ("width and height",)),
    "size of image differs": (
        image_body(encode(FRAMES, ".png"), width=9, height=9),
        422,
        "frames[0]",
        ("16 x 12", "9 x 9"),
    ),
    "sizes of images differ": (_sizes_differ(), 422, "frames[2]", ("16 x 8", "16 x 12")),
    "raw and images mixed": (_with_frame(text(encode(FRAMES, ".png")[3])), 422, "frames[3]", ("mixed",)),
    "width missing": ({k: v for k, v in _good().items() if k != "width"}, 422, "width", ("width is missing",)),
    "height negative": (_good(height=-12), 422, "height", ("-12", "1 to")),
    "width zero": (_good(width=0), 422, "width", ("0", "1 to")),
    "width absurd": (_good(width=10**9), 422, "width", ("1000000000", "1 to")),
    "width beyond 64 bits": (_good(width=10**30), 422, "width", (str(10**30), "1 to")),
    "width a fraction": (_good(width=16.5), 422, "width", ("int",)),
    "width a string": (_good(width="16"), 422, "width", ("int", "str")),
    "unknown format": (_good(format="YUV"), 422, "format", ("YUV", "BGR, RGB")),
    "format in small letters": (_good(format="bgr"), 422, "format", ("bgr", "BGR, RGB")),
    "top_k zero": (_good(top_k=0), 422, "top_k", ("top_k is 0", "1 to")),
    "top_k negative": (_good(top_k=-1), 422, "top_k", ("-1", "1 to")),
    "top_k too large": (_good(top_k=1000), 422, "top_k", ("1000", "label count")),
    "clip_id a number": (_good(clip_id=5), 422, "clip_id", ("str", "int")),
    "clip_id too long": (_good(clip_id="x" * 257), 422, "clip_id", ("257", "256")),
    "field misspelt": (_good(topk=3), 422, "topk", ("top_k", "clip_id")),
    "image bomb": (image_body([_png_header(60_000, 60_000)] * 16), 413, "frames", ("60000 x 60000", "at most")),
    "image bomb with size": (
        image_body([_png_header(60_000, 60_000)] * 16, width=16, height=12),
        422,
        "frames[0]",
        ("60000 x 60000",),
    ),
    "clip too large": (_good(width=16384, height=16384), 413, "frames", ("16384 x 16384", "at most")),
}


def _octets(body: bytes, query: str = "width=16&height=12") -> Sent:
    return Sent("application/octet-stream", body, f"?{query}")


PIXELS = FRAMES.tobytes()
FRAME_BYTES = 12 * 16 * 3

# name: (request, status, field, words that the message must have)
BAD_OCTETS: dict[str, tuple[Sent, int, str | None, tuple[str, ...]]] = {
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


def _parts(images: list[bytes], **fields: Any) -> Sent:
    return parts_request([("frames", image) for image in images], **fields)


def _multipart(body: bytes, boundary: str = f"; boundary={BOUNDARY}") -> Sent:
    return Sent(f"multipart/form-data{boundary}", body)


PNGS = encode(FRAMES, ".png")
PARTS = [("frames", image) for image in PNGS]
GOOD_PARTS = multipart_body(PARTS)

BAD_PARTS: dict[str, tuple[Sent, int, str | None, tuple[str, ...]]] = {
    "no parts": (_parts([]), 422, "frames", ("0 frames", "exactly 16")),
    "15 frames": (_parts(PNGS[:15]), 422, "frames", ("15 frames", "exactly 16")),
    "17 frames": (_parts([*PNGS, PNGS[0]]), 422, "frames", ("17 frames", "exactly 16")),
    "thousands of parts": (_parts([b""] * 5000), 422, "frames", ("over 1000 parts", "exactly 16")),
    "empty": (_multipart(b""), 400, None, ("not multipart",)),
    "no boundary": (_multipart(GOOD_PARTS, ""), 400, "Content-Type", ("boundary",)),
    "another boundary": (_multipart(GOOD_PARTS, "; boundary=another"), 400, None, ("not multipart",)),
    "cut off": (_multipart(GOOD_PARTS[:-200]), 400, None, ("not multipart", "end of")),
    "no last boundary": (_multipart(GOOD_PARTS[: -len(BOUNDARY) - 6]), 400, None, ("not multipart",)),
    "JSON": (_multipart(json.dumps({"frames": []}).encode()), 400, None, ("not multipart",)),
    "a part without a name": (
        _multipart(GOOD_PARTS.replace(b' name="frames";', b"", 1)),
        422,
        "",
        ("unknown field", "frames", "top_k"),
    ),
    "not form-data": (
        _multipart(GOOD_PARTS.replace(b"form-data; ", b"attachment; ", 1)),
        400,
        None,
        ("not multipart",),
    ),
    "header too long": (
        _multipart(GOOD_PARTS.replace(b"image/png", b"image/png" + b" " * 5000, 1)),
        400,
        None,
        ("not multipart", "header"),
    ),
    "too many headers": (
        _multipart(GOOD_PARTS.replace(b"Content-Type", b"X-A: b\r\n" * 9 + b"Content-Type", 1)),
        400,
        None,
        ("not multipart", "header"),
    ),
    "unknown part": (parts_request([*PARTS, ("frame", PNGS[0])]), 422, "frame", ("unknown field frame", "frames")),
    "top_k twice": (parts_request([*PARTS, ("top_k", b"1"), ("top_k", b"1")]), 422, "top_k", ("twice",)),
    "top_k a word": (_parts(PNGS, top_k="all"), 422, "top_k", ("'all'", "whole number")),
    "top_k too large": (_parts(PNGS, top_k=99), 422, "top_k", ("99", "label count")),
    "unknown format": (_parts(PNGS, format="YUV"), 422, "format", ("YUV", "BGR, RGB")),
    "clip_id not UTF-8": (parts_request([*PARTS, ("clip_id", b"\xff\xfe")]), 400, "clip_id", ("UTF-8",)),
    "clip_id too long": (_parts(PNGS, clip_id="x" * 257), 422, "clip_id", ("257", "256")),
    "a text of megabytes": (_parts(PNGS, clip_id="x" * 2_000_000), 422, "clip_id", ("2000000 bytes", "4096")),
    "width alone": (_parts(PNGS, width=16), 422, "height", ("height is missing",)),
    "size of image differs": (_parts(PNGS, width=9, height=9), 422, "frames[0]", ("16 x 12", "9 x 9")),
    "sizes of images differ": (
        _parts([*PNGS[:2], encode(FRAMES[:, :8], ".png")[2], *PNGS[3:]]),
        422,
        "frames[2]",
        ("16 x 8", "16 x 12"),
    ),
    "truncated JPEG": (
        _parts([*encode(FRAMES, ".jpg")[:15], encode(FRAMES, ".jpg")[15][:-50]]),
        400,
        "frames[15]",
        ("JPEG",),
    ),
    "truncated PNG": (_parts([*PNGS[:5], PNGS[5][:300], *PNGS[6:]]), 400, "frames[5]", ("PNG", "truncated")),
    "GIF": (_parts([b"GIF89a" + b"x" * 99] * 16), 422, "frames[0]", ("JPEG, PNG or WebP",)),
    "empty parts": (_parts([b""] * 16), 422, "frames[0]", ("JPEG, PNG or WebP",)),
    "raw pixels without size": (_parts([PIXELS[:FRAME_BYTES]] * 16), 422, "frames[0]", ("width and height",)),
    "raw and images mixed": (
        _parts([*PNGS[:7], PIXELS[:FRAME_BYTES], *PNGS[8:]], width=16, height=12),
        422,
        "frames[7]",
        ("mixed",),
    ),
    "image bomb": (_parts([_png_header(60_000, 60_000)] * 16), 413, "frames", ("60000 x 60000", "at most")),
}

BAD_TEXTS: dict[str, bytes] = {
    "empty": b"",
    "not JSON": b"frames=1",
    "JSON cut off": json.dumps(_good()).encode()[:-2],
    "two objects": json.dumps(_good()).encode() * 2,
    "not UTF-8": b'{"frames": [], "clip_id": "\xff\xfe"}',
    "nested deep": b'{"frames":' + b"[" * 100_000,
    "NaN": b'{"frames": [], "width": NaN}',
}


def _assert_problem(answer: Answer, status: int) -> None:
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert {"type", "title", "status", "detail", "request_id"} <= answer.body.keys()
    assert answer.body["status"] == status
    assert answer.body["request_id"] == answer.headers["X-Request-Id"]


async def _assert_still_serving(post: Post, clip: Clip) -> None:
    answer = await post(json=raw_body(clip.frames))
    assert answer.status == 200
    assert answer.body["predictions"][0]["label"] == clip.label


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_wrong_body_is_explained(post: Post, clip: Clip, name: str) -> None:
    body, status, field, words = BAD_BODIES[name]
    answer = await post(json=body)
    _assert_problem(answer, status)
    assert answer.body.get("field") == field
    for word in words:
        assert word in answer.body["detail"]
    await _assert_still_serving(post, clip)


@pytest.mark.parametrize(
    "request_", [*BAD_OCTETS.values(), *BAD_PARTS.values()], ids=[*(f"octets: {n}" for n in BAD_OCTETS), *BAD_PARTS]
)
async def test_wrong_octets_and_parts_are_explained(
    post: Post, clip: Clip, request_: tuple[Sent, int, str | None, tuple[str, ...]]
) -> None:
    sent, status, field, words = request_
    answer = await post(sent)
    _assert_problem(answer, status)
    assert answer.body.get("field") == field
    for word in words:
        assert word in answer.body["detail"]
    await _assert_still_serving(post, clip)


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
async def test_chunked_octets_of_a_wrong_length_are_explained(
    post: Post, clip: Clip, sent_bytes: int, words: tuple[str, ...]
) -> None:
    async def chunks() -> Any:
        for at in range(0, sent_bytes, 4000):
            yield bytes(min(4000, sent_bytes - at))

    answer = await post(_octets(b""), data=chunks())
    _assert_problem(answer, 422)
    assert answer.body["field"] == "frames"
    for word in words:
        assert word in answer.body["detail"]
    await _assert_still_serving(post, clip)


async def test_octets_of_a_wrong_length_are_refused_before_a_byte_is_read(live_server: LiveServer) -> None:
    for length, status in ((len(PIXELS) - 1, 422), (10**9, 413)):
        peer = await Peer.connect(live_server)
        await peer.write(_octets(PIXELS).head("Expect: 100-continue", length=length))
        assert (await peer.answer()).status == status  # and no "100 Continue" before it
        peer.close()


@pytest.mark.parametrize("name", BAD_TEXTS)
async def test_what_is_not_json_is_400(post: Post, clip: Clip, name: str) -> None:
    answer = await post(data=BAD_TEXTS[name], headers=JSON_TYPE)
    _assert_problem(answer, 400)
    assert "not JSON" in answer.body["detail"]
    await _assert_still_serving(post, clip)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "image/jpeg"])
async def test_other_content_types_are_415(post: Post, content_type: str) -> None:
    answer = await post(data=b"{}", headers={"Content-Type": content_type})
    _assert_problem(answer, 415)
    assert answer.body["field"] == "Content-Type"
    for named in (content_type, "application/json", "application/octet-stream", "multipart/form-data"):
        assert named in answer.body["detail"]


async def test_100_mb_are_refused(post: Post, clip: Clip) -> None:
    answer = await post(data=b" " * 100_000_000, headers=JSON_TYPE)
    _assert_problem(answer, 413)
    assert "100000000 bytes" in answer.body["detail"]
    await _assert_still_serving(post, clip)


async def test_100_mb_of_unannounced_length_are_refused(post: Post, clip: Clip) -> None:
    async def chunks() -> Any:
        for _ in range(100):
            yield b" " * 1_000_000

    answer = await post(data=chunks(), headers=JSON_TYPE)
    _assert_problem(answer, 413)
    await _assert_still_serving(post, clip)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_a_compressed_bomb_is_refused(post: Post, clip: Clip, encoding: str) -> None:
    bomb = zlib.compress(b" " * 200_000_000, 9)
    sent = ENCODINGS[encoding](FRAMES)
    headers = {"Content-Type": sent.content_type, "Content-Encoding": "deflate"}
    answer = await post(sent, data=bomb, headers=headers)
    assert answer.status in (400, 413)
    await _assert_still_serving(post, clip)


async def test_unknown_paths_and_methods_are_problems_too(live_server: LiveServer, session: Any) -> None:
    async with session.get("/api/v1/nothing") as response:
        assert (response.status, response.content_type) == (404, "application/problem+json")
    async with session.get("/api/v1/infer") as response:
        assert (response.status, response.content_type) == (405, "application/problem+json")
        assert response.headers["Allow"] == "POST"
        assert "POST" in (await response.json(content_type=None))["detail"]


async def test_a_usable_request_id_is_kept_and_a_hostile_one_replaced(post: Post) -> None:
    kept = await post(json=_good(), headers={"X-Request-Id": "trace-42"})
    assert kept.headers["X-Request-Id"] == "trace-42"
    replaced = await post(json=_good(), headers={"X-Request-Id": 'x" level=error'})
    assert replaced.headers["X-Request-Id"] != 'x" level=error'


async def test_memory_does_not_grow_with_bombs(live_server: LiveServer, post: Post) -> None:
    bomb = image_body([_png_header(60_000, 60_000)] * 16)
    await post(json=bomb)
    before = _resident_bytes(live_server)
    for _ in range(50):
        await post(json=bomb)
    assert _resident_bytes(live_server) - before < 20_000_000


def _resident_bytes(server: LiveServer) -> int:
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096
