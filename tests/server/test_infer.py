"""Valid requests get right answers in every encoding."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import uuid
import zlib
from collections.abc import AsyncIterator

import aiohttp
import numpy as np
import pytest

from engines.storage.bundle import DEMO, open_bundle
from export.demo.labels import LABELS
from export.demo.rendering.clips import Clip, render_clip
from tests.live_server import LiveServer
from tests.server.conftest import Answer, Post
from tests.server.peers import Peer
from tests.server.requests import (
    ENCODINGS,
    Sent,
    encode,
    image_body,
    octet_request,
    parts_request,
    raw_body,
    text,
)


def _confidences(answer: Answer) -> dict[str, float]:
    assert answer.status == 200, answer.body
    return {prediction["label"]: prediction["confidence"] for prediction in answer.body["predictions"]}


def _top(answer: Answer) -> str:
    return str(answer.body["predictions"][0]["label"])


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_answer_has_the_specified_fields(post: Post, clip: Clip, encoding: str) -> None:
    answer = await post(ENCODINGS[encoding](clip.frames))
    assert answer.status == 200
    assert answer.body.keys() == {"predictions", "clip_id", "model", "timings_ms"}
    confidences = [prediction["confidence"] for prediction in answer.body["predictions"]]
    assert len(confidences) == 5
    assert confidences == sorted(confidences, reverse=True)
    assert 0 < sum(confidences) <= 1.00001
    assert uuid.UUID(answer.body["clip_id"])
    assert answer.body["model"] == open_bundle(DEMO).manifest.source.model
    timings = answer.body["timings_ms"]
    assert timings.keys() == {"decode", "queue", "infer", "total"}
    assert timings["total"] >= timings["decode"] + timings["infer"] > 0
    assert all(f"{phase};dur={ms}" in answer.headers["Server-Timing"] for phase, ms in timings.items())


@pytest.mark.parametrize("label", LABELS)
async def test_demo_recognises_motions_outside_its_training_set(post: Post, label: str) -> None:
    tops = [_top(await post(json=raw_body(render_clip(32_000_000 + seed, label).frames))) for seed in range(3)]
    assert tops.count(label) >= 2


async def test_raw_bgr_raw_rgb_and_lossless_images_give_the_same_answer(post: Post, clip: Clip) -> None:
    rgb = _confidences(await post(json=raw_body(clip.frames, "RGB")))
    bodies = [raw_body(clip.frames, "BGR"), image_body(encode(clip.frames, ".png"))]
    # libwebp encodes losslessly if the quality is above 100.
    bodies += [image_body(encode(clip.frames, ".webp", 64, 101)), image_body(encode(clip.frames, ".png"), format="RGB")]
    for body in bodies:
        assert _confidences(await post(json=body)) == pytest.approx(rgb, abs=1e-6)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_every_encoding_gives_the_same_answer(post: Post, clip: Clip, encoding: str) -> None:
    expected = _confidences(await post(json=raw_body(clip.frames)))
    for _ in range(2):
        assert _confidences(await post(ENCODINGS[encoding](clip.frames))) == pytest.approx(expected, abs=1e-6)


async def test_octet_stream_is_bgr_by_default(post: Post, clip: Clip) -> None:
    expected = _confidences(await post(json=raw_body(clip.frames)))
    sent = octet_request(clip.frames, "BGR")
    unsaid = dataclasses.replace(sent, query=sent.query.replace("&format=BGR", ""))
    assert unsaid.query != sent.query
    for request in (sent, unsaid):
        assert _confidences(await post(request)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("size", [(24, 32), (120, 160), (720, 1280)])
@pytest.mark.parametrize("compressed", [False, True])
async def test_octet_stream_may_be_chunked_or_compressed(post: Post, size: tuple[int, int], compressed: bool) -> None:
    sent = octet_request(render_clip(35_000_000, size=size).frames)
    expected = _confidences(await post(sent))
    body = zlib.compress(sent.body, 1) if compressed else sent.body
    headers = {"Content-Type": sent.content_type} | ({"Content-Encoding": "deflate"} if compressed else {})
    chunked = await post(sent, data=_pieces(body, 50_001), headers=headers)
    assert _confidences(chunked) == pytest.approx(expected, abs=1e-6)


async def _pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def test_multipart_frames_may_be_any_image_format_or_raw(post: Post, clip: Clip) -> None:
    expected = _confidences(await post(json=raw_body(clip.frames)))
    height, width = clip.frames.shape[1:3]
    raw = parts_request(
        [("frames", frame.tobytes()) for frame in clip.frames], width=width, height=height, format="RGB"
    )
    webp = parts_request([("frames", image) for image in encode(clip.frames, ".webp", 64, 101)])
    for request in (raw, webp):
        assert _confidences(await post(request)) == pytest.approx(expected, abs=1e-6)
    jpeg = await post(parts_request([("frames", image) for image in encode(clip.frames, ".jpg")]))
    assert _top(jpeg) == max(expected, key=lambda label: expected[label])


async def test_multipart_written_by_aiohttp_is_read(post: Post, clip: Clip) -> None:
    images = encode(clip.frames, ".png")
    form = aiohttp.FormData()
    form.add_field("top_k", "3")
    for image in images:
        form.add_field("frames", image, filename='a "frame".png', content_type="image/png")
    form.add_field("clip_id", "Kamera 7 ü")
    answer = await post(data=form)
    assert answer.body["clip_id"] == "Kamera 7 ü"
    other = await post(parts_request([("frames", image) for image in images], top_k=3))
    assert _confidences(answer) == _confidences(other)
    assert len(_confidences(answer)) == 3


async def test_jpeg_gives_the_same_top_label(post: Post, clip: Clip) -> None:
    raw = await post(json=raw_body(clip.frames))
    height, width = clip.frames.shape[1:3]
    for size in ({}, {"width": width, "height": height}):
        assert _top(await post(json=image_body(encode(clip.frames, ".jpg"), **size))) == _top(raw)


async def test_json_format_is_bgr_by_default(post: Post, clip: Clip) -> None:
    body = raw_body(clip.frames, "BGR")
    said = _confidences(await post(json=body))
    del body["format"]
    assert _confidences(await post(json=body)) == said


@pytest.mark.parametrize("size", [(1, 1), (17, 500), (720, 1280)])
async def test_frames_of_any_size_are_answered(post: Post, size: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (16, *size, 3), np.uint8)
    assert (await post(json=raw_body(frames))).status == 200


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_clip_id_and_top_k_are_honoured(post: Post, clip: Clip, encoding: str) -> None:
    answer = await post(ENCODINGS[encoding](clip.frames, clip_id="camera 7/12:00 ü", top_k=len(LABELS)))
    assert answer.body["clip_id"] == "camera 7/12:00 ü"
    confidences = _confidences(answer)
    assert confidences.keys() == set(LABELS)
    assert sum(confidences.values()) == pytest.approx(1, abs=1e-4)
    assert len(_confidences(await post(ENCODINGS[encoding](clip.frames, top_k=1)))) == 1


async def test_base64_with_escaped_slashes_is_read(post: Post, clip: Clip) -> None:
    body = json.dumps(raw_body(clip.frames))
    escaped = body.replace("/", "\\/")
    assert escaped != body
    answer = await post(data=escaped, headers={"Content-Type": "application/json; charset=utf-8"})
    assert _confidences(answer) == _confidences(await post(json=json.loads(body)))


async def test_raw_pixels_that_begin_like_a_jpeg_are_read_as_pixels(post: Post, clip: Clip) -> None:
    frames = clip.frames.copy()
    frames[:, 0, 0] = (0xFF, 0xD8, 0xFF)
    assert (await post(json=raw_body(frames, "RGB"))).status == 200
    assert (await post(octet_request(frames))).status == 200


async def test_gray_16_bit_and_transparent_images_are_accepted(post: Post) -> None:
    import cv2

    gray = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    variants = [gray, gray.astype(np.uint16) * 257, np.dstack([gray, gray, gray, gray])]
    answers = [await post(json={"frames": [text(cv2.imencode(".png", image)[1].tobytes())] * 16}) for image in variants]
    assert [answer.status for answer in answers] == [200, 200, 200]


async def test_every_answer_belongs_to_its_own_clip(post: Post) -> None:
    sent: list[Sent] = []
    for seed in range(12):
        frames = render_clip(33_000_000 + seed, size=(60 + 10 * seed, 90)).frames
        encoding = list(ENCODINGS.values())[seed % len(ENCODINGS)]
        sent.append(encoding(frames, clip_id=str(seed), top_k=len(LABELS)))
    alone = [await post(request) for request in sent]
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(12), 5))
    together = await asyncio.gather(*(post(sent[index]) for index in order))
    for index, answer in zip(order, together, strict=True):
        assert answer.body["clip_id"] == str(index)
        assert _confidences(answer) == pytest.approx(_confidences(alone[index]), abs=1e-5)


async def test_one_connection_carries_pipelined_requests_of_all_encodings(live_server: LiveServer) -> None:
    """The next request is sent before the answer, and the bodies arrive in pieces."""
    rng = random.Random(0)
    clips = [render_clip(36_000_000 + seed, size=(96, 128)).frames for seed in range(3)]
    sent = [make(frames, clip_id=f"{index}") for index, frames in enumerate(clips) for make in ENCODINGS.values()]
    order = [rng.choice(sent) for _ in range(30)]
    stream = b"".join(request.head() + request.body for request in order)
    peer = await Peer.connect(live_server)
    writing = asyncio.create_task(_dribble(peer, stream, rng))
    for request in order:
        answer = await peer.answer()
        assert answer.status == 200, answer.body
        assert answer.body["clip_id"] == str(sent.index(request) // len(ENCODINGS))
    await writing
    peer.close()


async def _dribble(peer: Peer, stream: bytes, rng: random.Random) -> None:
    at = 0
    while at < len(stream):
        size = rng.choice((1, 100, 70_000, 300_000))
        await peer.write(stream[at : at + size])
        await asyncio.sleep(0)
        at += size
