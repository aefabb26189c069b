"""Several models in one service: each request is answered by its own, whatever happens to the others."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.storage.bundle import DEMO, open_bundle
from tests.live_server import LiveServer, serving
from tests.server.demo_bundles import demo_copy
from tests.server.peers import clients, metrics, send, small_clips
from tests.server.requests import ENCODINGS, Sent, octet_request
from tests.server.streams import END, MOTION, frame_messages
from tests.server.tensors import ask, pixels

CLIPS = small_clips(3)
LABELS = open_bundle(DEMO).manifest.labels
# How far the labels of each model are moved, so that its answers are its own.
MOVED = {"first": 0, "second": 1, "third": 4}
KEY = {"Authorization": "Bearer a-key"}


def _bundles(directory: Path) -> Path:
    """A directory of the models of ``MOVED`` and of one whose network is damaged."""
    for name, moved in MOVED.items():
        demo_copy(directory / name, name, labels_moved=moved)
    demo_copy(directory / "spoilt", "spoilt", b"no network at all")
    return directory


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with serving(_bundles(tmp_path_factory.mktemp("models")), "--model-weights", "second=2") as server:
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
        assert await _statuses(session, "/health", "/health/ready", "/health/ready?model=second") == [200, 200, 200]
        assert await _statuses(session, "/health/ready?model=spoilt", "/health/ready?model=none") == [503, 404]
        assert await _statuses(session, "/v2/models/second/ready", "/v2/models/spoilt/ready") == [200, 503]
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
            assert (refused.status, refused.body["field"]) == (404, "model")
            assert all(name in refused.body["detail"] for name in MOVED)
        sent = _request("json", "second", 0, in_query=False)
        differ = await send(session, Sent(sent.content_type, sent.body, "?model=first"))
        assert (differ.status, differ.body["field"]) == (404, "model")
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
            assert (await socket.receive_json())["status"] == 404
    assert tops == {name: _label(name, LABELS.index(tops["first"])) for name in MOVED}


async def test_without_keys_nobody_may_load_or_unload(server: LiveServer) -> None:
    async with clients(server) as session:
        for path in ("index", "models/first/load", "models/first/unload"):
            async with session.post(f"/v2/repository/{path}") as answer:
                assert answer.status == 403
                assert "--api-key-file" in (await answer.json())["error"]


@contextlib.asynccontextmanager
async def _load(session: aiohttp.ClientSession, model: str, answers: list[Any]) -> AsyncIterator[None]:
    """Three clients of ``model`` that send one request after the other while the block runs."""
    ended = False

    async def ask_on() -> None:
        while not ended:
            answers.append(await send(session, octet_request(CLIPS[0], model=model), KEY))

    tasks = [asyncio.create_task(ask_on()) for _ in range(3)]
    try:
        yield
    finally:
        ended = True
        await asyncio.gather(*tasks)


async def test_swaps_loads_and_unloads_leave_others_alone_and_lose_no_accepted_request(tmp_path: Path) -> None:
    directory, keys = _bundles(tmp_path / "models"), tmp_path / "keys"
    keys.write_text("a-key\n")
    shutil.rmtree(directory / "spoilt")
    answers: dict[str, list[Any]] = {"first": [], "second": []}
    with serving(directory, "--api-key-file", str(keys), "--bundle-poll-s", "1") as server:
        async with clients(server) as session:
            async with session.post("/v2/repository/index") as refused:
                assert refused.status == 401
            async with _load(session, "first", answers["first"]), _load(session, "second", answers["second"]):
                demo_copy(directory / "second", "swapped", labels_moved=1)
                swapped = await asyncio.to_thread(server.wait_for, "engine swapped")
                assert swapped["model"] == "second"
                assert await _repository(session, "models/second/unload") == {}
                assert (await send(session, octet_request(CLIPS[0], model="second"), KEY)).status == 503
                assert await _states(session) == {"first": "READY", "second": "UNAVAILABLE", "third": "READY"}
                # What was unloaded stays so, although its files change.
                demo_copy(directory / "second", "again", labels_moved=1)
                demo_copy(directory / "new", "new")
                assert await _repository(session, "models/second/load") == {}
                assert await _repository(session, "models/new/load") == {}
            demo_copy(directory / "bad", "bad", b"no network at all")
            assert "cannot be loaded" in (await _repository(session, "models/bad/load"))["detail"]
            assert "accepted" in (await _repository(session, "models/..%2Fkeys/load"))["detail"]
            states = await _states(session)
            assert (await send(session, octet_request(CLIPS[0], model="new"), KEY)).body["model"] == "new"
        assert await asyncio.to_thread(server.stop) == 0
    assert states == {"first": "READY", "second": "READY", "third": "READY", "new": "READY", "bad": "UNAVAILABLE"}
    assert {(answer.status, answer.body["model"]) for answer in answers["first"]} == {(200, "first")}
    assert {answer.status for answer in answers["second"]} <= {200, 503}
    refused_of_second = {answer.body["detail"] for answer in answers["second"] if answer.status == 503}
    assert refused_of_second <= {"the model second is unavailable: it was unloaded"}
    assert {answer.body["model"] for answer in answers["second"] if answer.status == 200} == {
        "second",
        "swapped",
        "again",
    }


async def _repository(session: aiohttp.ClientSession, path: str) -> Any:
    async with session.post(f"/v2/repository/{path}", headers=KEY) as answer:
        return await answer.json()


async def _states(session: aiohttp.ClientSession) -> dict[str, str]:
    return {model["name"]: model["state"] for model in await _repository(session, "index")}


async def _statuses(session: aiohttp.ClientSession, *paths: str) -> list[int]:
    statuses = []
    for path in paths:
        async with session.get(path) as answer:
            statuses.append(answer.status)
    return statuses


async def _of_model(session: aiohttp.ClientSession, model: str) -> dict[str, float]:
    return {
        series: value for series, value in (await metrics(session, sums=False)).items() if f'model="{model}"' in series
    }
