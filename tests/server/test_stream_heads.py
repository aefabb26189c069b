"""Heads and embeddings on streams: the same as those of clips; a changed head is told before its answers."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np
import pybase64
import pytest

from engines.linear_heads.storage import open_head
from engines.storage.bundle import DEMO
from export.bundling.staging import write_manifest
from tests.heads import FAR, constant_head, demo_manifest
from tests.live_server import LiveServer, serving
from tests.server.events import watching
from tests.server.peers import clients
from tests.server.requests import octet_request
from tests.server.streams import MOTION, frame_messages, of_kind, streaming

DOOR = ("opens", "closes")


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streamed") / "heads"


@pytest.fixture(scope="module")
def server(heads: Path) -> Iterator[LiveServer]:
    constant_head(heads / "door", DOOR, 0.75)
    constant_head(heads / "stranger", DOOR, 0.75, threshold=FAR)
    with serving(DEMO, "--heads", str(heads), "--bundle-poll-s", "1") as server:
        yield server


def _digest(head: Path) -> str:
    return open_head(head).manifest.digest


async def _window(session: aiohttp.ClientSession, **hello: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first answer of a stream, and the prediction for its only window."""
    async with streaming(session, policy="wait", format="RGB", **hello) as client:
        await client.send(frame_messages(MOTION))
        (prediction,) = of_kind(await client.ended(), "prediction")
        return client.ready, prediction


async def test_stream_answers_with_the_labels_of_the_head(server: LiveServer, heads: Path) -> None:
    async with clients(server) as session:
        ready, prediction = await _window(session, head="door")
    assert (ready["head"], ready["heads"], ready["labels"]) == ("door", {"door": _digest(heads / "door")}, 3)
    assert prediction["head"] == "door"
    assert prediction["predictions"] == [
        {"label": "opens", "confidence": 0.75},
        {"label": "closes", "confidence": 0.25},
        {"label": "unknown", "confidence": 0.0},
    ]


async def test_all_heads_and_the_embedding_of_a_window_are_those_of_the_clip(server: LiveServer) -> None:
    sent = octet_request(MOTION, head="all", top_k=2)
    async with clients(server) as session:
        headers = {"Content-Type": sent.content_type}
        async with session.post(f"/api/v1/infer{sent.query}", data=sent.body, headers=headers) as response:
            clip = await response.json()
        plain = octet_request(MOTION)
        async with session.post(f"/api/v1/embed{plain.query}", data=plain.body, headers=headers) as response:
            embedded = await response.json()
        _, window = await _window(session, head="all", top_k=2, embedding="base64")
        _, numbers = await _window(session, embedding="float")
        _, default = await _window(session)
    assert (window["predictions"], window["heads"]) == (clip["predictions"], clip["heads"])
    assert {name: found[0]["label"] for name, found in window["heads"].items()} == {
        "door": "opens",
        "stranger": "unknown",
    }
    assert window["sha256"] == embedded["sha256"] == demo_manifest().features_identity()
    features = np.frombuffer(pybase64.b64decode(window["embedding"]), "<f4")
    assert np.allclose(features, embedded["embedding"], rtol=1e-4, atol=1e-5)
    assert numbers["embedding"] == features.tolist()
    assert default.keys() == {
        "type", "window", "start_s", "end_s", "predictions", "timings_ms", "age_ms", "still"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("hello", "field", "words"),
    [
        ({"head": "gate"}, "head", "accepted: all, door, stranger"),
        ({"head": "door", "top_k": 4}, "top_k", "1 to 3"),
        ({"head": "door", "still": "skip", "event_labels": ["walks"]}, "event_labels", "walks"),
        ({"embedding": "hex"}, None, "embedding"),
    ],
)
async def test_hello_that_no_head_can_answer_says_what_is_accepted(
    server: LiveServer, hello: dict[str, object], field: str | None, words: str
) -> None:
    async with clients(server) as session, streaming(session, **hello) as client:
        assert (client.ready["type"], client.ready["status"], client.ready.get("field")) == ("error", 422, field)
        assert words in client.ready["detail"]
        await client.rest()
        assert client.socket.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_encoder_without_labels_streams_features_and_heads(tmp_path: Path) -> None:
    bundle = _encoder(tmp_path / "encoder")
    constant_head(tmp_path / "heads" / "door", DOOR, 0.75)
    with serving(bundle, "--heads", str(tmp_path / "heads"), "--canary-s", "off") as server:
        async with clients(server) as session:
            _, embedded = await _window(session, embedding="base64")
            _, answered = await _window(session, head="all")
            async with streaming(session) as client:
                refusal = client.ready["detail"]
    assert (embedded["predictions"], len(pybase64.b64decode(embedded["embedding"]))) == ([], 4 * 1008)
    assert (answered["predictions"], answered["heads"]["door"][0]["label"]) == ([], "opens")
    assert "no labels of its own; accepted as head: all, door" in refusal


def _encoder(path: Path) -> Path:
    """The demo without its classifier."""
    onnx = pytest.importorskip("onnx")
    path.mkdir()
    network = onnx.load(DEMO / "model.onnx")
    del network.graph.output[0]
    onnx.save(network, path / "model.onnx")
    manifest = msgspec.structs.replace(
        demo_manifest(), name=path.name, labels=(), network_output=None, verification=None
    )
    write_manifest(path, manifest)
    return path


async def test_changed_head_is_told_before_its_answers_and_a_removed_one_ends_the_stream(
    server: LiveServer, heads: Path
) -> None:
    path = heads / "swapped"

    async def put(labels: tuple[str, str], best: float) -> None:
        loaded = len(server.entries("head loaded"))
        await asyncio.to_thread(constant_head, path, labels, best)
        await asyncio.to_thread(server.wait_for, "head loaded", loaded + 1)

    await put(("old yes", "old no"), 0.75)
    old = _digest(path)
    async with clients(server) as session, streaming(session, head="swapped", policy="wait", top_k=1) as client:
        assert client.ready["heads"] == {"swapped": old}
        await client.send(frame_messages(MOTION))
        assert (await client.next("prediction"))["predictions"] == [{"label": "old yes", "confidence": 0.75}]
        await put(("new yes", "new no"), 0.875)
        await client.send(frame_messages(MOTION, 16 / 3))
        told, answer = await client.socket.receive_json(), await client.socket.receive_json()
        assert (told["type"], told["heads"]) == ("ready", {"swapped": _digest(path)})
        assert told["heads"] != {"swapped": old}
        assert answer["predictions"] == [{"label": "new yes", "confidence": 0.875}]
        await asyncio.to_thread(shutil.rmtree, path)
        await asyncio.to_thread(server.wait_for, "head gone")
        await client.send(frame_messages(MOTION, 32 / 3))
        (error,) = await client.rest()
        assert (error["type"], error["status"]) == ("error", 503)
        assert "accepted: all, door, stranger" in error["detail"]
        assert client.socket.close_code == aiohttp.WSCloseCode.TRY_AGAIN_LATER


async def test_checked_still_window_answered_with_unknown_is_no_event(server: LiveServer) -> None:
    still = np.zeros((16, 48, 64, 3), np.uint8)
    missed = {}
    async with clients(server) as session:
        for head in ("door", "stranger"):
            async with streaming(session, head=head, policy="wait", still="skip", still_check=1) as client:
                await client.send(frame_messages(still))
                (ended,) = of_kind(await client.ended(), "ended")
                missed[head] = ended["still"]["missed"]
    assert missed == {"door": 1, "stranger": 0}


async def test_events_also_tell_what_the_head_says_that_is_watched(server: LiveServer) -> None:
    async with clients(server) as session:
        async with session.get("/api/v1/events?head=gate") as refused:
            assert refused.status == 422
            assert "accepted: all, door, stranger" in (await refused.json())["detail"]
        async with watching(session, query="?head=door") as events:
            await events.next("streams")
            async with streaming(session, policy="wait") as client:
                await client.send(frame_messages(MOTION))
                told = await events.next("prediction")
                async with watching(session) as later:
                    (state,) = (await later.next("streams"))["streams"]
    assert told["predictions"][0]["label"] not in DOOR
    assert [one["label"] for one in told["heads"]["door"]["predictions"]] == [*DOOR, "unknown"]
    assert told["heads"].keys() == {"door"}
    (segment,) = state["heads"]["door"]["recent"]
    assert (segment["label"], segment["confidence"]) == ("opens", 0.75)
