"""Several models in one service: each request is answered by its own."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.client.sync_client import Client
from consumer.errors import ServiceRefusedError
from tests.live_server import ROOT, LiveServer, run_module, serving
from tests.server.demo_bundles import LABELS, MOVED, demo_copies, demo_copy
from tests.server.peers import clients, metrics, send, small_clips, statuses
from tests.server.requests import ENCODINGS, Sent, octet_request
from tests.server.streams import END, MOTION, frame_messages
from tests.server.tensors import ask, pixels

SAMPLE = ROOT / "export/demo/sample.mp4"
CLIPS = small_clips(3)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    directory = demo_copies(tmp_path_factory.mktemp("models"))
    demo_copy(directory / "spoilt", "spoilt", b"no network at all")
    with serving(directory, "--model-weights", "second=2") as server:
        yield server
        assert server.stop() == 0


@pytest.fixture(scope="module")
def top_labels(server: LiveServer) -> list[int]:
    """For each of ``CLIPS``, the number of the demo's most probable label."""

    async def answers() -> list[int]:
        async with clients(server) as session:
            found = [await send(session, octet_request(clip, model="first")) for clip in CLIPS]
            return [LABELS.index(answer.body["predictions"][0]["label"]) for answer in found]

    return asyncio.run(answers())


def _label(model: str, number: int) -> str:
    """The label that ``model`` has for what the demo calls label ``number``."""
    moved = MOVED[model]
    return (LABELS[moved:] + LABELS[:moved])[number]


def _request(encoding: str, model: str | None, clip: int, *, in_query: bool) -> Sent:
    if model is None or not in_query or encoding == "octet-stream":
        return ENCODINGS[encoding](CLIPS[clip], **({} if model is None else {"model": model}))
    sent = ENCODINGS[encoding](CLIPS[clip])
    return Sent(sent.content_type, sent.body, f"?model={model}")


ASKED = st.tuples(
    st.sampled_from(sorted(ENCODINGS)), st.sampled_from([None, *MOVED]), st.sampled_from(range(3)), st.booleans()
)


@given(asked=st.lists(ASKED, min_size=1, max_size=12))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_answer_is_of_the_model_that_was_asked(
    asked: list[tuple[str, str | None, int, bool]], server: LiveServer, top_labels: list[int]
) -> None:
    async def answers() -> list[Any]:
        async with clients(server) as session:
            requests = (_request(kind, model, clip, in_query=query) for kind, model, clip, query in asked)
            return await asyncio.gather(*(send(session, request) for request in requests))

    for (_, model, clip, _), answer in zip(asked, asyncio.run(answers()), strict=True):
        assert answer.status == 200, answer.body
        assert answer.body["model"] == (model or "first")
        assert answer.body["predictions"][0]["label"] == _label(model or "first", top_labels[clip])


async def test_a_damaged_bundle_is_told_and_leaves_the_others_in_service(server: LiveServer) -> None:
    (told,) = server.entries("model not served")
    assert told["model"] == "spoilt"
    async with clients(server) as session:
        assert await statuses(session, "/health", "/health/ready", "/health/ready?model=second") == [200, 200, 200]
        assert await statuses(session, "/health/ready?model=spoilt", "/health/ready?model=none") == [503, 404]
        assert await statuses(session, "/v2/models/second/ready", "/v2/models/spoilt/ready") == [200, 503]
        async with session.get("/api/v1/models") as answer:
            listed = (await answer.json())["models"]
        document = await (await session.get("/openapi.json")).json()
    assert [model["served_as"] for model in listed] == sorted(MOVED)
    parameters = document["paths"]["/api/v1/infer"]["post"]["parameters"]
    (asked,) = [one for one in parameters if one.get("name") == "model"]
    assert asked["schema"]["enum"] == sorted(MOVED)


async def test_unknown_models_are_refused_with_the_names_that_there_are(server: LiveServer) -> None:
    async with clients(server) as session:
        for encoding, in_query in itertools.product(ENCODINGS, (False, True)):
            refused = await send(session, _request(encoding, "fourth", 0, in_query=in_query))
            assert (refused.status, refused.body["field"]) == (422, "model")
            assert all(name in refused.body["detail"] for name in MOVED)
        sent = _request("json", "second", 0, in_query=False)
        differ = await send(session, Sent(sent.content_type, sent.body, "?model=first"))
        assert (differ.status, differ.body["field"]) == (422, "model")
        twice = await send(session, Sent(sent.content_type, sent.body, "?model=first&model=second"))
        assert (twice.status, twice.body["field"]) == (422, "model")


async def test_figures_and_protocol_tell_the_models_apart(server: LiveServer, top_labels: list[int]) -> None:
    clips = np.stack(CLIPS[:1])
    async with clients(server) as session:
        before = await _of_model(session, "third")
        for name in MOVED:
            reply = await ask(session, pixels(clips), name)
            assert reply.head["model_name"] == name
            assert int(reply.probabilities()[0].argmax()) == top_labels[0]
        after = await _of_model(session, "third")
        async with session.get("/v2/models/stats") as answer:
            told = (await answer.json())["model_stats"]
    assert [model["name"] for model in told] == sorted(MOVED)
    grown = {series: after[series] - before[series] for series in before if after[series] != before[series]}
    assert grown['vjepa_requests_total{model="third",outcome="answered"}'] == 1
    assert grown['vjepa_batch_clips_count{model="third"}'] == 1
    assert grown[f'vjepa_clips_total{{label="{_label("third", top_labels[0])}",model="third"}}'] == 1


async def test_a_stream_is_answered_by_the_model_of_its_hello(server: LiveServer) -> None:
    tops = {}
    async with clients(server) as session:
        for name in MOVED:
            async with session.ws_connect("/api/v1/stream") as socket:
                await socket.send_json({"model": name})
                assert (await socket.receive_json())["model"] == name
                for message in frame_messages(MOTION):
                    await socket.send_bytes(message)
                await socket.send_str(END)
                answers = [message.json() async for message in socket]
                (prediction,) = [one for one in answers if one["type"] == "prediction"]
                tops[name] = prediction["predictions"][0]["label"]
        async with session.ws_connect("/api/v1/stream") as socket:
            await socket.send_json({"model": "fourth"})
            assert (await socket.receive_json())["status"] == 422
    assert tops == {name: _label(name, LABELS.index(tops["first"])) for name in MOVED}


async def test_without_keys_nobody_may_load_or_unload(server: LiveServer) -> None:
    async with clients(server) as session:
        for path in ("index", "models/first/load", "models/first/unload"):
            async with session.post(f"/v2/repository/{path}") as answer:
                assert answer.status == 403
                assert "--api-key-file" in (await answer.json())["error"]


async def _of_model(session: aiohttp.ClientSession, model: str) -> dict[str, float]:
    return {
        series: value for series, value in (await metrics(session, sums=False)).items() if f'model="{model}"' in series
    }


def test_typed_clients_and_the_consumer_ask_the_model_that_they_are_told(
    server: LiveServer, top_labels: list[int]
) -> None:
    for encoding in ("raw", "jpeg", "json"):
        with Client(server.url, encoding=encoding) as client:  # type: ignore[arg-type]
            for name in MOVED:
                answer = client.classify(CLIPS[0], model=name)
                assert (answer.model, answer.predictions[0].label) == (name, _label(name, top_labels[0]))
            assert client.embed(CLIPS[0], model="third").model == "third"
            described = client.model("second")
            assert described is not None
            assert described.name == "second"
            assert client.model("fourth") is None
            with pytest.raises(ServiceRefusedError, match="fourth"):
                client.classify(CLIPS[0], model="fourth")
    for transport in ("stream", "clips"):
        flags = ("--service-url", server.url, "--transport", transport, "--json", "--model", "third")
        told = run_module("consumer", str(SAMPLE), *flags)
        assert told.returncode == 0, told.stderr
        first, *_ = (json.loads(line) for line in told.stdout.splitlines())
        assert first["model"] == "third"
