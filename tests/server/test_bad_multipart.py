"""Wrong multipart forms get a status and a message with field and remedy, and the next request is served."""

from __future__ import annotations

import json
from typing import Any

import pytest

from export.demo.rendering.clips import Clip
from tests.server.conftest import Post
from tests.server.problems import FRAME_BYTES, FRAMES, PIXELS, Wrong, assert_explained, assert_still_serving, png_header
from tests.server.requests import BOUNDARY, Sent, encode, multipart_body, parts_request


def _parts(images: list[bytes], **fields: Any) -> Sent:
    return parts_request([("frames", image) for image in images], **fields)


def _multipart(body: bytes, boundary: str = f"; boundary={BOUNDARY}") -> Sent:
    return Sent(f"multipart/form-data{boundary}", body)


PNGS = encode(FRAMES, ".png")
PARTS = [("frames", image) for image in PNGS]
GOOD_PARTS = multipart_body(PARTS)

BAD_PARTS: dict[str, Wrong] = {
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
    "image bomb": (_parts([png_header(60_000, 60_000)] * 16), 413, "frames", ("60000 x 60000", "at most")),
}


@pytest.mark.parametrize("name", BAD_PARTS)
async def test_wrong_multipart_form_is_explained(post: Post, clip: Clip, name: str) -> None:
    sent, status, field, words = BAD_PARTS[name]
    assert_explained(await post(sent), status, field, words)
    await assert_still_serving(post, clip)
