"""The Open Inference Protocol: every form of a tensor, the answers, and clips that are answered together."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from yarl import URL

from engines.storage.bundle import DEMO, open_bundle
from tests.faulty_server import Fault, marked
from tests.live_server import LiveServer, serving
from tests.server.peers import clients, faulty, metrics, send, small_clips, tell, until_metric
from tests.server.requests import octet_request
from tests.server.tensors import (
    HEAD_LENGTH,
    INFER,
    Clips,
    Reply,
    TensorRequest,
    ask,
    images,
    json_images,
    json_pixels,
    pixels,
)

DEMO_MANIFEST = open_bundle(DEMO).manifest
LABELS = DEMO_MANIFEST.labels
assert DEMO_MANIFEST.features
FEATURES = DEMO_MANIFEST.features.size
CLIPS: Clips = np.stack(small_clips(2))
# Longer than the part of a body that comes through the HTTP parser.
LARGER: Clips = CLIPS.repeat(2, axis=2).repeat(2, axis=3)
QUEUE = 6


@pytest.fixture(scope="module")
def server(batch_bundle: Path) -> Iterator[LiveServer]:
    with faulty(batch_bundle, "--queue-size", str(QUEUE)) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
async def client(server: LiveServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with clients(server) as session:
        yield session


async def _expected(client: aiohttp.ClientSession, clips: Clips) -> list[dict[str, float]]:
    """The confidence of each label for each clip, by ``/api/v1/infer``."""
    answers = [await send(client, octet_request(clip, top_k=len(LABELS))) for clip in clips]
    return [{one["label"]: one["confidence"] for one in answer.body["predictions"]} for answer in answers]


def _told(reply: Reply) -> list[dict[str, float]]:
    return [dict(zip(LABELS, map(float, row), strict=True)) for row in reply.probabilities()]


def _check(reply: Reply, expected: list[dict[str, float]]) -> None:
    assert reply.status == 200, reply.head
    for told, one in zip(_told(reply), expected, strict=True):
        assert told == pytest.approx(one, abs=2e-6)


FORMS: dict[str, TensorRequest] = {
    "pixels": pixels(CLIPS),
    "larger pixels": pixels(LARGER),
    "flat JSON": json_pixels(CLIPS, nested=False),
    "nested JSON": json_pixels(CLIPS, nested=True),
    "images": images(CLIPS),
    "flat JSON of images": json_images(CLIPS, nested=False),
    "nested JSON of images": json_images(CLIPS, nested=True),
}


@pytest.mark.parametrize("form", FORMS)
async def test_every_form_of_a_tensor_gets_the_answers_of_infer(client: aiohttp.ClientSession, form: str) -> None:
    expected = await _expected(client, LARGER if form == "larger pixels" else CLIPS)
    _check(await ask(client, FORMS[form]), expected)


@pytest.mark.parametrize("form", ["pixels", "larger pixels", "images"])
async def test_compressed_and_chunked_bodies_get_the_same_answers(client: aiohttp.ClientSession, form: str) -> None:
    expected = await _expected(client, LARGER if form == "larger pixels" else CLIPS)
    sent = FORMS[form]
    headers = sent.all_headers | {"Content-Encoding": "deflate"}
    _check(await ask(client, sent, data=zlib.compress(sent.body), headers=headers), expected)

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(sent.body), 20_000):
            yield sent.body[at : at + 20_000]

    _check(await ask(client, sent, data=chunks()), expected)


async def test_header_length_of_the_whole_body_means_that_no_data_follows(client: aiohttp.ClientSession) -> None:
    sent = FORMS["flat JSON"]
    headers = sent.all_headers | {HEAD_LENGTH: str(len(sent.body))}
    _check(await ask(client, sent, headers=headers), await _expected(client, CLIPS))


async def test_order_of_channels_is_that_of_the_parameter(client: aiohttp.ClientSession) -> None:
    expected = await _expected(client, CLIPS)
    reversed_ = np.ascontiguousarray(CLIPS[..., ::-1])
    _check(await ask(client, pixels(reversed_, format="BGR")), expected)
    sent = pixels(reversed_)
    del sent.head["parameters"]
    _check(await ask(client, sent), expected)


async def test_outputs_are_json_binary_or_classes_as_asked(client: aiohttp.ClientSession) -> None:
    expected = await _expected(client, CLIPS)
    by_request = await ask(client, pixels(CLIPS, binary_data_output=True))
    assert by_request.headers["Content-Type"] == "application/octet-stream"
    sizes = [told["parameters"]["binary_data_size"] for told in by_request.head["outputs"]]
    assert sum(sizes) == len(by_request.data)
    _check(by_request, expected)
    sent = pixels(CLIPS, binary_data_output=True)
    sent.head["outputs"] = [{"name": "probabilities", "parameters": {"binary_data": False}}]
    by_output = await ask(client, sent)
    assert by_output.headers["Content-Type"] == "application/json"
    _check(by_output, expected)
    sent.head["outputs"] = [{"name": "probabilities", "parameters": {"binary_data": False, "classification": 2}}]
    (told,) = (await ask(client, sent)).head["outputs"]
    assert (told["datatype"], told["shape"]) == ("BYTES", [2, 2])
    for texts, one in zip((told["data"][:2], told["data"][2:]), expected, strict=True):
        best = sorted(one, key=lambda label: -one[label])[:2]
        assert [text.split(":", 2)[1:] for text in texts] == [[str(LABELS.index(label)), label] for label in best]
        assert [float(text.split(":")[0]) for text in texts] == pytest.approx([one[label] for label in best], abs=2e-6)


async def _embedding(client: aiohttp.ClientSession, clip: Clips) -> list[float]:
    sent = octet_request(clip)
    url = URL(f"/api/v1/embed{sent.query}", encoded=True)
    async with client.post(url, data=sent.body, headers={"Content-Type": sent.content_type}) as response:
        return list((await response.json())["embedding"])


@pytest.mark.parametrize("binary", [True, False])
async def test_features_are_those_of_embed(client: aiohttp.ClientSession, binary: bool) -> None:
    expected = [await _embedding(client, clip) for clip in CLIPS]
    sent = pixels(CLIPS, binary_data_output=binary)
    for outputs in (["features"], ["features", "probabilities"], []):
        sent.head["outputs"] = [{"name": name} for name in outputs]
        reply = await ask(client, sent)
        names = outputs or ["probabilities", "features"]
        assert [told["name"] for told in reply.head["outputs"]] == names
        np.testing.assert_allclose(reply.output("features"), expected, rtol=1e-5, atol=1e-5)


async def test_id_is_repeated_and_only_if_it_was_given(client: aiohttp.ClientSession) -> None:
    sent = pixels(CLIPS[:1])
    assert "id" not in (await ask(client, sent)).head
    sent.head["id"] = "gate 7"
    reply = await ask(client, sent)
    assert (reply.head["id"], reply.head["model_name"], reply.head["model_version"]) == ("gate 7", "batch", "1")


async def test_paths_with_a_version_are_those_without(client: aiohttp.ClientSession) -> None:
    _check(await ask(client, pixels(CLIPS), path="/v2/models/{}/versions/1/infer"), await _expected(client, CLIPS))
    for path in ("", "/ready", "/config"):
        async with (
            client.get(f"/v2/models/batch{path}") as plain,
            client.get(f"/v2/models/batch/versions/1{path}") as versioned,
        ):
            assert (versioned.status, await versioned.json()) == (200, await plain.json())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/v2/models/batch/versions/2", 404),
        ("GET", "/v2/models/batch/versions/one/ready", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("GET", "/v2/nothing", 404),
        ("DELETE", "/v2/models/batch", 405),
        ("GET", "/v2/systemsharedmemory/status", 404),
    ],
)
async def test_every_error_has_the_member_of_the_protocol_and_ours(
    client: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    async with client.request(method, path) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["status"]) == (status, status)
    assert problem["error"] == problem["detail"] != ""


async def test_metadata_and_configuration_name_the_same_tensors(client: aiohttp.ClientSession) -> None:
    async with client.get("/v2/models/batch") as response:
        metadata = await response.json()
    async with client.get("/v2/models/batch/config") as response:
        config = await response.json()
    assert metadata["inputs"] == [{"name": "frames", "datatype": "UINT8", "shape": [-1, 16, -1, -1, 3]}]
    shapes = {"probabilities": [-1, len(LABELS)], "features": [-1, FEATURES]}
    assert metadata["outputs"] == [{"name": one, "datatype": "FP32", "shape": shapes[one]} for one in shapes]
    assert config["max_batch_size"] == 8
    for told, configured in (("inputs", "input"), ("outputs", "output")):
        assert [[-1, *one["dims"]] for one in config[configured]] == [one["shape"] for one in metadata[told]]
        assert [one["data_type"] for one in config[configured]] == [f"TYPE_{one['datatype']}" for one in metadata[told]]
    async with client.get("/v2") as response:
        assert "system_shared_memory" not in (await response.json())["extensions"]


async def test_statistics_rise_with_every_request(client: aiohttp.ClientSession) -> None:
    async def counted() -> dict[str, Any]:
        async with client.get("/v2/models/batch/stats") as response:
            (model,) = (await response.json())["model_stats"]
        return dict(model)

    before = await counted()
    await ask(client, pixels(CLIPS))
    await send(client, octet_request(CLIPS[0]))
    after = await counted()
    assert after["inference_count"] - before["inference_count"] == 3
    assert 1 <= after["execution_count"] - before["execution_count"] <= 3
    assert sum(one["compute_infer"]["count"] for one in after["batch_stats"]) == after["execution_count"]
    for phase in ("success", "compute_infer", "compute_input", "queue"):
        one, other = before["inference_stats"][phase], after["inference_stats"][phase]
        assert other["count"] - one["count"] == 2
        assert other["ns"] > one["ns"]
    phases = ("queue", "compute_input", "compute_infer", "compute_output")
    sums = {name: after["inference_stats"][name]["ns"] for name in (*phases, "success")}
    assert sum(sums[name] for name in phases) <= sums["success"] * 1.001
    assert after["last_inference"] >= before["last_inference"]


async def test_clips_of_a_request_are_admitted_together_or_not_at_all(server: LiveServer, batch_bundle: Path) -> None:
    with faulty(batch_bundle, "--queue-size", str(QUEUE)) as held:
        async with clients(held) as client:
            await tell(held, "hold")
            first = asyncio.create_task(ask(client, pixels(CLIPS.repeat(2, axis=0))))
            await until_metric(client, "vjepa_admitted_clips", lambda clips: clips == 4)
            refused = await ask(client, pixels(CLIPS.repeat(2, axis=0)[:3]))
            assert (refused.status, "Retry-After" in refused.headers) == (503, True)
            assert (await metrics(client))["vjepa_admitted_clips"] == 4
            second = asyncio.create_task(ask(client, pixels(CLIPS)))
            await until_metric(client, "vjepa_admitted_clips", lambda clips: clips == QUEUE)
            await tell(held, "release")
            assert [(await one).status for one in (first, second)] == [200, 200]
            assert (await metrics(client))["vjepa_admitted_clips"] == 0
        assert await asyncio.to_thread(held.stop) == 0


async def test_one_bad_clip_fails_its_request_and_no_other(client: aiohttp.ClientSession) -> None:
    bad = np.stack([CLIPS[0], marked(CLIPS[1], fault=Fault.RAISE)])
    replies = await asyncio.gather(ask(client, pixels(bad)), ask(client, pixels(CLIPS)))
    assert [reply.status for reply in replies] == [500, 200]
    assert replies[0].head["error"]
    assert (await metrics(client))["vjepa_admitted_clips"] == 0


async def test_timeout_in_microseconds_is_a_deadline(client: aiohttp.ClientSession) -> None:
    late = await ask(client, pixels(LARGER, timeout=1))
    assert (late.status, late.head["error"]) == (504, "not answered within the 1 ms that the request had")
    assert (await ask(client, pixels(CLIPS, timeout=60_000_000))).status == 200


async def test_highest_priority_goes_first() -> None:
    clips = [marked(CLIPS[0], number)[None] for number in (1, 2, 3)]
    with faulty(DEMO) as server:
        async with clients(server) as client:
            await tell(server, "hold")
            first = asyncio.create_task(ask(client, pixels(clips[0]), "demo"))
            await until_metric(client, "vjepa_admitted_clips", lambda count: count == 1)
            await asyncio.to_thread(server.wait_for, "in engine")
            second = asyncio.create_task(ask(client, pixels(clips[1], priority=2), "demo"))
            await until_metric(client, "vjepa_queue_clips", lambda count: count == 1)
            third = asyncio.create_task(ask(client, pixels(clips[2], priority=1), "demo"))
            await until_metric(client, "vjepa_queue_clips", lambda count: count == 2)
            await tell(server, "release")
            assert [(await one).status for one in (first, second, third)] == [200] * 3
        assert await asyncio.to_thread(server.stop) == 0
    numbers = [entry["numbers"] for entry in server.entries("in engine") if entry["numbers"]]
    assert numbers == [[1], [3], [2]]


async def test_clips_of_low_priority_are_answered_and_counted_apart(client: aiohttp.ClientSession) -> None:
    before = await metrics(client)
    _check(await ask(client, pixels(CLIPS[:1], priority=3)), await _expected(client, CLIPS[:1]))
    after = await metrics(client)
    name = "vjepa_low_priority_clips_total"
    assert after[name] - before[name] == 1


async def test_requests_need_a_key_where_there_are_keys(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("key\n")
    with serving(DEMO, "--api-key-file", str(tmp_path / "keys")) as server:
        async with clients(server) as client:
            refused = await ask(client, pixels(CLIPS[:1]), "demo")
            assert (refused.status, bool(refused.head["error"])) == (401, True)
            keyed = dataclasses.replace(pixels(CLIPS[:1]), headers={"Authorization": "Bearer key"})
            assert (await ask(client, keyed, "demo")).status == 200
            async with client.get("/v2/health/ready") as response:
                assert (response.status, await response.json()) == (200, {"live": True, "ready": True})
        assert await asyncio.to_thread(server.stop) == 0


def _with(sent: TensorRequest, **members: Any) -> TensorRequest:
    """``sent`` with other members of its input."""
    head = json.loads(json.dumps(sent.head))
    head["inputs"][0] |= members
    return dataclasses.replace(sent, head=head)


def _asking(output: str = "probabilities", **parameters: Any) -> TensorRequest:
    sent = pixels(CLIPS)
    sent.head["outputs"] = [{"name": output, "parameters": parameters}]
    return sent


SHAPE = list(CLIPS.shape)
WRONG: dict[str, tuple[TensorRequest, int, str]] = {
    "no JSON": (TensorRequest({}, b"x", {HEAD_LENGTH: "1"}), 400, "JSON"),
    "no inputs": (TensorRequest({}), 422, "inputs"),
    "empty inputs": (TensorRequest({"inputs": []}), 422, "0 times"),
    "unknown input": (_with(pixels(CLIPS), name="images"), 422, "unknown input 'images'"),
    "twice": (TensorRequest({"inputs": [*pixels(CLIPS).head["inputs"] * 2]}, CLIPS.tobytes()), 422, "2 times"),
    "datatype": (_with(pixels(CLIPS), datatype="FP32"), 422, "accepted: UINT8, BYTES"),
    "other datatype": (_with(pixels(CLIPS), datatype="BYTES"), 422, "[clips, 16]"),
    "fewer frames": (_with(pixels(CLIPS), shape=[2, 15, 24, 32, 3]), 422, "[clips, 16, height, width, 3]"),
    "negative": (_with(pixels(CLIPS), shape=[-2, 16, -24, 32, 3]), 422, "shape of frames"),
    "zero": (_with(pixels(CLIPS), shape=[2, 16, 0, 32, 3]), 422, "shape of frames"),
    "overflow": (_with(pixels(CLIPS), shape=[2, 16, 2**62, 2**62, 3]), 422, "pixels"),
    "long number": (_with(pixels(CLIPS), shape=[2, 16, 10**100, 32, 3]), 422, "pixels"),
    "fraction": (_with(pixels(CLIPS), shape=[2, 16, 24.5, 32, 3]), 422, "whole numbers"),
    "long shape": (_with(pixels(CLIPS), shape=[1] * 1000), 422, "dimensions"),
    "too many clips": (_with(pixels(CLIPS), shape=[7, *SHAPE[1:]]), 422, "at most 6"),
    "too many pixels": (_with(pixels(CLIPS), shape=[2, 16, 16384, 16384, 3]), 413, "accepted: at most"),
    "another size": (_with(pixels(CLIPS), shape=[2, 16, 24, 33, 3]), 422, "its shape"),
    "no data": (_with(pixels(CLIPS), parameters={}), 422, "exactly one place"),
    "two places": (_with(pixels(CLIPS), data=[1]), 422, "exactly one place"),
    "size beyond the body": (_with(pixels(CLIPS), parameters={"binary_data_size": 2**40}), 422, "takes"),
    "negative size": (_with(pixels(CLIPS), parameters={"binary_data_size": -1}), 422, "binary_data_size"),
    "region without size": (_with(pixels(CLIPS), parameters={"shared_memory_region": "r"}), 422, "go together"),
    "data cut off": (dataclasses.replace(pixels(CLIPS), data=CLIPS.tobytes()[:-1]), 422, "bytes follow the JSON"),
    "data too long": (dataclasses.replace(pixels(CLIPS), data=CLIPS.tobytes() + b"x"), 422, "bytes follow the JSON"),
    "head beyond the body": (
        dataclasses.replace(pixels(CLIPS), headers={HEAD_LENGTH: "99999999"}),
        422,
        "the body has",
    ),
    "negative head": (dataclasses.replace(pixels(CLIPS), headers={HEAD_LENGTH: "-1"}), 422, HEAD_LENGTH),
    "no head": (dataclasses.replace(pixels(CLIPS), headers={HEAD_LENGTH: "0"}), 422, HEAD_LENGTH),
    "head is no number": (dataclasses.replace(pixels(CLIPS), headers={HEAD_LENGTH: "1e3"}), 422, HEAD_LENGTH),
    "short head": (dataclasses.replace(pixels(CLIPS), headers={HEAD_LENGTH: "9"}), 400, "JSON"),
    "JSON of 256": (_with(json_pixels(CLIPS, nested=False), data=[256] * CLIPS.size), 422, "0 to 255"),
    "JSON of texts": (_with(json_pixels(CLIPS, nested=False), data=["1"] * CLIPS.size), 422, "0 to 255"),
    "JSON of fractions": (_with(json_pixels(CLIPS, nested=False), data=[0.5] * CLIPS.size), 422, "0 to 255"),
    "JSON of long numbers": (_with(json_pixels(CLIPS, nested=False), data=[10**30] * CLIPS.size), 422, "0 to 255"),
    "JSON too short": (_with(json_pixels(CLIPS, nested=False), data=[1, 2]), 422, "neither nested"),
    "JSON with holes": (_with(json_pixels(CLIPS, nested=False), data=[[]] * CLIPS.size), 422, "neither nested"),
    "JSON is no list": (_with(json_pixels(CLIPS, nested=False), data=3), 422, "neither nested"),
    "JSON of fewer images": (_with(json_images(CLIPS, nested=False), data=["aa=="]), 422, "base64 texts"),
    "JSON that is no base64": (_with(json_images(CLIPS, nested=False), data=["?"] * 32), 400, "not base64"),
    "JSON that is no image": (_with(json_images(CLIPS, nested=False), data=["aaaa"] * 32), 422, "JPEG"),
    "lengths that lie": (dataclasses.replace(images(CLIPS), data=b"\xff" * len(images(CLIPS).data)), 422, "element 0"),
    "lengths of nothing": (dataclasses.replace(images(CLIPS), data=bytes(len(images(CLIPS).data))), 422, "follow"),
    "unknown output": (_with(pixels(CLIPS)), 422, "accepted: probabilities, features"),
    "classes of features": (_asking("features", classification=1), 422, "accepted: at most 0"),
    "classes": (_asking(classification=12), 422, "at most 11"),
    "negative classes": (_asking(classification=-1), 422, "classification"),
    "region while off": (_asking(shared_memory_region="r", shared_memory_byte_size=4), 404, "shared memory is off"),
    "output without region": (_asking(shared_memory_byte_size=4), 422, "go together"),
    "priority": (pixels(CLIPS, priority=4), 422, "accepted: 0 (default), 1 (high), 2 (normal), 3 (low)"),
    "timeout": (pixels(CLIPS, timeout=10**12), 422, "microseconds"),
    "format": (pixels(CLIPS, format="YUV"), 422, "accepted: BGR, RGB"),
    "sequence": (pixels(CLIPS, sequence_id=3), 422, "independent"),
    "content type": (dataclasses.replace(pixels(CLIPS), headers={"Content-Type": "text/plain"}), 415, "Content-Type"),
}
WRONG["unknown output"][0].head["outputs"] = [{"name": "logits"}]


@pytest.mark.parametrize("fault", WRONG)
async def test_wrong_requests_get_a_message_that_explains_them(client: aiohttp.ClientSession, fault: str) -> None:
    sent, status, words = WRONG[fault]
    reply = await ask(client, sent, path=INFER)
    assert (reply.status, words in reply.head.get("error", "")) == (status, True), reply.head
    figures = await metrics(client)
    assert (figures["vjepa_admitted_clips"], figures["vjepa_inflight_bytes"]) == (0, 0)
