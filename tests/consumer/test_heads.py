"""Heads and embeddings by the typed clients and the consumer, from the real service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from consumer.client import AsyncClient, Client, ServiceRefusedError, StreamOptions, StreamReady, WindowPrediction
from engines.storage.bundle import DEMO
from export.demo.rendering.clips import render_clip
from tests.consumer.processes import consume
from tests.consumer.videos import at, write_video
from tests.heads import FAR, constant_head, demo_manifest
from tests.live_server import LiveServer, serving

FRAMES = render_clip(51, size=(48, 64)).frames
DOOR = ("opens", "closes")
LABELS = [*DOOR, "unknown"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    heads = tmp_path_factory.mktemp("asked") / "heads"
    constant_head(heads / "door", DOOR, 0.75)
    constant_head(heads / "stranger", DOOR, 0.75, threshold=FAR)
    with serving(DEMO, "--heads", str(heads)) as server:
        yield server


async def test_clip_is_answered_with_heads_and_embedded(server: LiveServer) -> None:
    async with AsyncClient(server.url) as client:
        named = await client.classify(FRAMES, head="door")
        every = await client.classify(FRAMES, head="all", top_k=1)
        embedding = await client.embed(FRAMES)
        with pytest.raises(ServiceRefusedError, match="accepted: all, door, stranger"):
            await client.classify(FRAMES, head="gate")
    assert (named.head, [one.label for one in named.predictions]) == ("door", LABELS)
    assert {name: found[0].label for name, found in every.heads.items()} == {"door": "opens", "stranger": "unknown"}
    manifest = demo_manifest()
    assert manifest.features
    assert (embedding.embedding.shape, embedding.sha256) == ((manifest.features.size,), manifest.features_identity())


def test_stream_of_the_sync_client_has_heads_and_embeddings(server: LiveServer) -> None:
    timed = [(index / 3, frame) for index, frame in enumerate(FRAMES)]
    with Client(server.url) as client:
        named = list(client.stream(timed, StreamOptions(policy="wait", head="door")))
        every = list(client.stream(timed, StreamOptions(policy="wait", head="all", embedding=True)))
        clip = client.embed(FRAMES)
        with pytest.raises(ServiceRefusedError, match="accepted: all, door, stranger"):
            list(client.stream(timed, StreamOptions(head="gate")))
    ready, answer = named[:2]
    assert isinstance(ready, StreamReady)
    assert ready.heads.keys() == {"door"}
    assert isinstance(answer, WindowPrediction)
    assert (answer.head, [one.label for one in answer.predictions]) == ("door", LABELS)
    assert answer.features() is None
    both = every[1]
    assert isinstance(both, WindowPrediction)
    assert both.heads.keys() == {"door", "stranger"}
    features = both.features()
    assert features is not None
    assert np.allclose(features, clip.embedding, rtol=1e-4, atol=1e-5)
    assert both.sha256 == clip.sha256


@pytest.mark.parametrize("transport", ["stream", "clips"])
async def test_consumer_reports_events_by_the_labels_of_the_head(
    server: LiveServer, transport: str, tmp_path: Path
) -> None:
    video = write_video(tmp_path / "door.mp4", at(3, 11))
    flags = ("--service-url", server.url, "--transport", transport, "--event-clips", "1", "--events", "stdout")
    told = {}
    for head in ("door", "stranger"):
        ended = await consume(video, *flags, "--head", head, "--log-format", "json")
        assert ended.code == 0, ended.errors
        answered = [entry for entry in map(json.loads, ended.errors) if entry["event"] == "clip"]
        assert {entry["label"] for entry in answered} == {"opens" if head == "door" else "unknown"}
        told[head] = [(event["event"], event["label"]) for event in map(json.loads, ended.output)]
    assert told == {"door": [("start", "opens"), ("end", "opens")], "stranger": []}
