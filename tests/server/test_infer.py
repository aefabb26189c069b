"""Right requests get right answers, however the frames are packed."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import numpy as np
import pytest

from engines.bundle import DEMO, open_bundle
from export.demo.clips import Clip, render_clip
from export.demo.labels import LABELS
from tests.server.conftest import Answer, Post
from tests.server.requests import encode, image_body, raw_body, text


def _confidences(answer: Answer) -> dict[str, float]:
    assert answer.status == 200, answer.body
    return {prediction["label"]: prediction["confidence"] for prediction in answer.body["predictions"]}


def _top(answer: Answer) -> str:
    return str(answer.body["predictions"][0]["label"])


async def test_answer_has_the_contract_s_fields(post: Post, clip: Clip) -> None:
    answer = await post(json=raw_body(clip.frames))
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
async def test_the_demo_recognises_motions_it_never_saw(post: Post, label: str) -> None:
    tops = [_top(await post(json=raw_body(render_clip(32_000_000 + seed, label).frames))) for seed in range(3)]
    assert tops.count(label) >= 2


async def test_raw_bgr_raw_rgb_and_lossless_images_give_the_same_answer(post: Post, clip: Clip) -> None:
    rgb = _confidences(await post(json=raw_body(clip.frames, "RGB")))
    bodies = [raw_body(clip.frames, "BGR"), image_body(encode(clip.frames, ".png"))]
    # libwebp takes a quality above 100 for lossless.
    bodies += [image_body(encode(clip.frames, ".webp", 64, 101)), image_body(encode(clip.frames, ".png"), format="RGB")]
    for body in bodies:
        assert _confidences(await post(json=body)) == pytest.approx(rgb, abs=1e-6)


async def test_jpeg_gives_the_same_top_label(post: Post, clip: Clip) -> None:
    raw = await post(json=raw_body(clip.frames))
    height, width = clip.frames.shape[1:3]
    for size in ({}, {"width": width, "height": height}):
        assert _top(await post(json=image_body(encode(clip.frames, ".jpg"), **size))) == _top(raw)


async def test_format_is_bgr_unless_said(post: Post, clip: Clip) -> None:
    body = raw_body(clip.frames, "BGR")
    said = _confidences(await post(json=body))
    del body["format"]
    assert _confidences(await post(json=body)) == said


@pytest.mark.parametrize("size", [(1, 1), (17, 500), (720, 1280)])
async def test_frames_of_any_size_are_answered(post: Post, size: tuple[int, int]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (16, *size, 3), np.uint8)
    assert (await post(json=raw_body(frames))).status == 200


async def test_clip_id_and_top_k_are_honoured(post: Post, clip: Clip) -> None:
    answer = await post(json=raw_body(clip.frames, clip_id="camera 7/12:00 ü", top_k=len(LABELS)))
    assert answer.body["clip_id"] == "camera 7/12:00 ü"
    confidences = _confidences(answer)
    assert confidences.keys() == set(LABELS)
    assert sum(confidences.values()) == pytest.approx(1, abs=1e-4)
    assert len(_confidences(await post(json=raw_body(clip.frames, top_k=1)))) == 1


async def test_slashes_may_be_escaped_as_some_json_encoders_do(post: Post, clip: Clip) -> None:
    body = json.dumps(raw_body(clip.frames))
    escaped = body.replace("/", "\\/")
    assert escaped != body
    answer = await post(data=escaped, headers={"Content-Type": "application/json; charset=utf-8"})
    assert _confidences(answer) == _confidences(await post(json=json.loads(body)))


async def test_raw_pixels_that_begin_like_a_jpeg_are_pixels(post: Post, clip: Clip) -> None:
    frames = clip.frames.copy()
    frames[:, 0, 0] = (0xFF, 0xD8, 0xFF)
    assert (await post(json=raw_body(frames, "RGB"))).status == 200


async def test_gray_deep_and_transparent_images_are_taken(post: Post) -> None:
    import cv2

    gray = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
    variants = [gray, gray.astype(np.uint16) * 257, np.dstack([gray, gray, gray, gray])]
    answers = [await post(json={"frames": [text(cv2.imencode(".png", image)[1].tobytes())] * 16}) for image in variants]
    assert [answer.status for answer in answers] == [200, 200, 200]


async def test_every_answer_belongs_to_its_own_clip(post: Post) -> None:
    bodies: list[dict[str, Any]] = []
    for seed in range(12):
        frames = render_clip(33_000_000 + seed, size=(60 + 10 * seed, 90)).frames
        bodies.append(raw_body(frames, clip_id=str(seed), top_k=len(LABELS)))
    alone = [await post(json=body) for body in bodies]
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(12), 5))
    together = await asyncio.gather(*(post(json=bodies[index]) for index in order))
    for index, answer in zip(order, together, strict=True):
        assert answer.body["clip_id"] == str(index)
        assert _confidences(answer) == pytest.approx(_confidences(alone[index]), abs=1e-5)
