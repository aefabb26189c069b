"""Wrong bodies and headers: each its own status, a message that names field and remedy, no harm to the next one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from export.demo.rendering.clips import Clip
from tests.live_server import LiveServer
from tests.server.conftest import Post
from tests.server.problems import FRAMES, assert_explained, assert_problem, assert_still_serving, png_header
from tests.server.requests import (
    encode,
    image_body,
    raw_body,
    text,
)

JSON_TYPE = {"Content-Type": "application/json"}


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
    "image bomb": (image_body([png_header(60_000, 60_000)] * 16), 413, "frames", ("60000 x 60000", "at most")),
    "image bomb with size": (
        image_body([png_header(60_000, 60_000)] * 16, width=16, height=12),
        422,
        "frames[0]",
        ("60000 x 60000",),
    ),
    "clip too large": (_good(width=16384, height=16384), 413, "frames", ("16384 x 16384", "at most")),
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


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_wrong_json_body_is_explained(post: Post, clip: Clip, name: str) -> None:
    body, status, field, words = BAD_BODIES[name]
    answer = await post(json=body)
    assert_explained(answer, status, field, words)
    await assert_still_serving(post, clip)


@pytest.mark.parametrize("name", BAD_TEXTS)
async def test_invalid_json_gets_400(post: Post, clip: Clip, name: str) -> None:
    answer = await post(data=BAD_TEXTS[name], headers=JSON_TYPE)
    assert_problem(answer, 400)
    assert "not JSON" in answer.body["detail"]
    await assert_still_serving(post, clip)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "image/jpeg"])
async def test_other_content_types_get_415(post: Post, content_type: str) -> None:
    answer = await post(data=b"{}", headers={"Content-Type": content_type})
    assert_problem(answer, 415)
    assert answer.body["field"] == "Content-Type"
    for named in (content_type, "application/json", "application/octet-stream", "multipart/form-data"):
        assert named in answer.body["detail"]


async def test_unknown_paths_and_methods_get_problem_documents(live_server: LiveServer, session: Any) -> None:
    async with session.get("/api/v1/nothing") as response:
        assert (response.status, response.content_type) == (404, "application/problem+json")
    async with session.get("/api/v1/infer") as response:
        assert (response.status, response.content_type) == (405, "application/problem+json")
        assert response.headers["Allow"] == "POST"
        assert "POST" in (await response.json(content_type=None))["detail"]


async def test_valid_request_id_is_kept_and_invalid_one_replaced(post: Post) -> None:
    kept = await post(json=_good(), headers={"X-Request-Id": "trace-42"})
    assert kept.headers["X-Request-Id"] == "trace-42"
    replaced = await post(json=_good(), headers={"X-Request-Id": 'x" level=error'})
    assert replaced.headers["X-Request-Id"] != 'x" level=error'


async def test_long_unknown_field_is_cut_and_escaped_in_the_answer(post: Post) -> None:
    body = b'{"\\u0000' + b"k" * 2**22 + b'": 1}'
    answer = await post(data=body, headers={"Content-Type": "application/json"})
    assert answer.status == 422
    assert answer.body["detail"].startswith("unknown field \\x00kkk")
    assert len(str(answer.body)) < 500


async def test_field_that_is_there_twice_gets_422(post: Post, clip: Clip) -> None:
    twice = json.dumps(_good())[:-1] + ', "width": 16}'
    answer = await post(data=twice, headers=JSON_TYPE)
    assert_explained(answer, 422, "width", ("width is there twice",))
    await assert_still_serving(post, clip)
