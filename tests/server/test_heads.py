"""Heads in service: how they are asked for, how they come and go, and that answers never mix two of them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.linear_heads.head import Head
from engines.linear_heads.storage import FILE_NAME
from export.demo.rendering.clips import Clip
from server.serving.heads import Heads
from tests.heads import FAR, constant_head, demo_manifest
from tests.live_server import LiveServer, serving
from tests.server.conftest import Answer
from tests.server.peers import clients, metrics
from tests.server.requests import ENCODINGS, Sent, octet_request

DOOR = ("opens", "closes")


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "heads"


@pytest.fixture(scope="module")
def server(heads: Path) -> Iterator[LiveServer]:
    constant_head(heads / "door", DOOR, 0.75)
    constant_head(heads / "stranger", DOOR, 0.75, threshold=FAR)
    constant_head(heads / "elsewhere", DOOR, 0.75, features="0" * 64, model="another network")
    constant_head(heads / "twice", ("a", "a"), 0.75)
    from engines.storage.bundle import DEMO

    with serving(DEMO, "--heads", str(heads), "--bundle-poll-s", "1") as server:
        yield server


async def _ask(session: aiohttp.ClientSession, sent: Sent) -> Answer:
    headers = {"Content-Type": sent.content_type}
    async with session.post(f"/api/v1/infer{sent.query}", data=sent.body, headers=headers) as response:
        return Answer(response.status, response.headers, await response.json())


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_head_answers_with_its_labels_in_every_encoding(server: LiveServer, clip: Clip, encoding: str) -> None:
    async with clients(server) as session:
        answer = await _ask(session, ENCODINGS[encoding](clip.frames, head="door"))
        assert answer.status == 200, answer.body
        assert answer.body["head"] == "door"
        assert answer.body["predictions"] == [
            {"label": "opens", "confidence": 0.75},
            {"label": "closes", "confidence": 0.25},
            {"label": "unknown", "confidence": 0.0},
        ]
        own = await _ask(session, ENCODINGS[encoding](clip.frames))
        every = await _ask(session, ENCODINGS[encoding](clip.frames, head="all", top_k=1))
    assert own.body.keys() == {"predictions", "clip_id", "model", "timings_ms"}
    assert every.body["predictions"] == own.body["predictions"][:1]
    assert {name: found[0]["label"] for name, found in every.body["heads"].items()} == {
        "door": "opens",
        "stranger": "unknown",
    }


@pytest.mark.parametrize(("fields", "field"), [({"head": "gate"}, "head"), ({"head": "door", "top_k": 4}, "top_k")])
async def test_wrong_head_or_count_says_what_is_accepted(
    server: LiveServer, clip: Clip, fields: dict[str, object], field: str
) -> None:
    async with clients(server) as session:
        answer = await _ask(session, octet_request(clip.frames, **fields))
    assert (answer.status, answer.body["field"]) == (422, field)
    accepted = "all, door, stranger" if field == "head" else "1 to 3"
    assert accepted in answer.body["detail"]


async def test_models_lists_the_heads_that_fit_and_the_log_tells_of_the_others(server: LiveServer) -> None:
    async with clients(server) as session:
        async with session.get("/api/v1/models") as response:
            (model,) = (await response.json())["models"]
        counted = await metrics(session)
    assert [(head["name"], head["labels"]) for head in model["heads"]] == [
        ("door", [*DOOR, "unknown"]),
        ("stranger", [*DOOR, "unknown"]),
    ]
    manifest = demo_manifest()
    assert manifest.features
    assert model["features"]["sha256"] == manifest.features_identity()
    assert sum(model["features"]["parts"].values()) == model["features"]["dim"] == manifest.features.size
    (refused,) = server.entries("head refused")
    assert (refused["head"], "'a' twice" in refused["error"]) == ("twice", True)
    (other,) = server.entries("head not served")
    assert (other["head"], other["taught_on"]) == ("elsewhere", "another network")
    assert (counted["vjepa_heads_serving"], counted["vjepa_heads_refused"]) == (2, 1)


# How confident each variant of the head is tells its labels.
VARIANTS = {f"variant {number}": 0.55 + number / 100 for number in range(20)}


def _write(path: Path, variant: str) -> None:
    constant_head(path, (f"{variant} yes", f"{variant} no"), VARIANTS[variant])


async def test_heads_swapped_under_load_lose_no_request_and_mix_no_answer(
    server: LiveServer, heads: Path, clip: Clip
) -> None:
    sent, seen, ended = octet_request(clip.frames, head="swapped", top_k=1), set[str](), False
    _write(heads / "swapped", "variant 0")
    await asyncio.to_thread(server.wait_for, "head loaded", len(server.entries("head loaded")) + 1)

    async def ask(session: aiohttp.ClientSession) -> None:
        while not ended:
            answer = await _ask(session, sent)
            assert answer.status == 200, answer.body
            (best,) = answer.body["predictions"]
            variant = best["label"].removesuffix(" yes")
            assert best["confidence"] == pytest.approx(VARIANTS[variant], abs=1e-5)
            seen.add(variant)

    async with clients(server) as session:
        tasks = [asyncio.create_task(ask(session)) for _ in range(4)]
        for variant in list(VARIANTS)[1:4]:
            loaded = len(server.entries("head loaded"))
            await asyncio.to_thread(_write, heads / "swapped", variant)
            await asyncio.to_thread(server.wait_for, "head loaded", loaded + 1)
        ended = True
        await asyncio.gather(*tasks)
        await asyncio.to_thread(shutil.rmtree, heads / "swapped")
        await asyncio.to_thread(server.wait_for, "head gone")
        assert (await _ask(session, sent)).status == 422
    assert len(seen) >= 3


STEPS = st.lists(
    st.one_of(st.sampled_from(list(VARIANTS)), st.sampled_from(["remove", "damage", "answer"])), min_size=1, max_size=8
)


@settings(max_examples=15, deadline=None)
@given(steps=STEPS)
def test_head_that_a_request_took_answers_as_it_was_whatever_happens_meanwhile(steps: list[str]) -> None:
    identity = demo_manifest().features_identity()
    features = np.zeros(1008, np.float32)

    async def run(directory: Path) -> None:
        heads, path = Heads(directory), directory / "door"
        taken: list[tuple[str, Head]] = []
        current: str | None = None
        for step in steps:
            if step in VARIANTS:
                _write(path, step)
                current = step
            elif step == "remove":
                shutil.rmtree(path, ignore_errors=True)
                current = None
            elif step == "damage" and path.exists():
                # What was loaded before stays in service.
                (path / FILE_NAME).write_text("{")
            await heads.load()
            fitting = heads.fitting(identity)
            assert set(fitting) == ({"door"} if current else set())
            if current:
                taken.append((current, fitting["door"]))
            for variant, head in taken:
                answer = head.answer(features)
                assert answer.top_label == f"{variant} yes"
                assert float(answer.probabilities.max()) == pytest.approx(VARIANTS[variant], abs=1e-5)

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(Path(directory)))
