"""``/api/v1/teaching``: only with a key and from the service's own page, and examples stay in their place."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from yarl import URL

from commandline.extras import install_command
from engines.clip import Clip
from engines.runtimes.registry import load_engine
from engines.storage.bundle import DEMO, open_bundle
from export.demo.show import SAMPLE
from server.errors import RequestError
from server.teaching.examples import Examples
from tests.heads import constant_head
from tests.live_server import LiveServer, serving
from tests.server.peers import clients
from tests.server.streams import MOTION, frame_messages, streaming

KEY = "the-key"
VIDEO = SAMPLE.read_bytes()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("taught")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[LiveServer]:
    (directory / "keys").write_text(f"{KEY}\n")
    # What an earlier process has taught.
    constant_head(directory / "teaching" / "gate" / "draft" / "gate", ("opens", "closes"), 0.75)
    (directory / "teaching" / "gate" / "examples").mkdir()
    flags = {"--heads": directory / "heads", "--teaching": directory / "teaching", "--bundle-poll-s": 1}
    arguments = [str(part) for flag in flags.items() for part in flag]
    with serving(DEMO, *arguments, "--api-key-file", str(directory / "keys"), "--cors-origins", "*") as server:
        yield server


@pytest.fixture
async def session(server: LiveServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server.url, headers={"Authorization": f"Bearer {KEY}"}) as session:
        yield session


def _examples(action: str, head: str = "door") -> URL:
    return URL(f"/api/v1/teaching/{quote(head, safe='')}/actions/{quote(action, safe='')}/examples", encoded=True)


async def _add(
    session: aiohttp.ClientSession, place: URL, data: bytes = VIDEO, content_type: str = "video/mp4"
) -> tuple[int, dict[str, Any]]:
    async with session.post(place, data=data, headers={"Content-Type": content_type}) as answer:
        return answer.status, await answer.json()


async def _overview(session: aiohttp.ClientSession) -> dict[str, Any]:
    async with session.get("/api/v1/teaching") as answer:
        assert answer.status == 200
        return dict(await answer.json())


async def test_examples_come_once_are_listed_and_go(session: aiohttp.ClientSession, directory: Path) -> None:
    for _ in range(2):
        status, kept = await _add(session, _examples("opens wide"))
        assert (status, kept["size_bytes"]) == (200, len(VIDEO))
    file = directory / "teaching" / "door" / "examples" / "opens wide" / kept["name"]
    assert file.read_bytes() == VIDEO
    (door,) = [one for one in (await _overview(session))["teaching"] if one["name"] == "door"]
    assert door["actions"] == [{"name": "opens wide", "examples": [kept]}]
    async with session.delete(_examples("opens wide") / kept["name"]) as answer:
        assert answer.status == 200
    assert not file.parent.exists()
    async with session.delete(_examples("opens wide") / kept["name"]) as answer:
        assert answer.status == 404


@pytest.mark.parametrize(
    ("place", "content_type", "data", "status", "words"),
    [
        (_examples("opens"), "text/plain", VIDEO, 415, "accepted: video/mp4"),
        (_examples("opens"), "video/mp4", b"", 422, "the body is empty"),
        (_examples("opens"), "video/mp4", bytes(64 * 2**20 + 1), 413, "accepted: at most 67108864"),
        (_examples("unknown"), "video/mp4", VIDEO, 422, "not 'unknown'"),
        (_examples("../opens"), "video/mp4", VIDEO, 422, "accepted: 1 to 64 letters"),
        (_examples(".opens"), "video/mp4", VIDEO, 422, "accepted: 1 to 64 letters"),
        (_examples("opens", head="all"), "video/mp4", VIDEO, 422, "not 'all'"),
        (_examples("opens", head="../../door"), "video/mp4", VIDEO, 422, "accepted: 1 to 64 letters"),
        (_examples("opens") % {"session": "gone"}, "video/mp4", b"", 404, "no open stream gone"),
    ],
)
async def test_what_is_no_example_is_refused(
    session: aiohttp.ClientSession, place: URL, content_type: str, data: bytes, status: int, words: str
) -> None:
    found, problem = await _add(session, place, data, content_type)
    assert (found, words in problem["detail"]) == (status, True), problem


@given(head=st.text(max_size=70), action=st.text(max_size=70), name=st.text(max_size=30))
def test_no_name_leads_out_of_the_directory(
    tmp_path_factory: pytest.TempPathFactory, head: str, action: str, name: str
) -> None:
    root = tmp_path_factory.getbasetemp() / "bounded"
    examples, inside = Examples(root / "teaching"), root / "teaching"
    with contextlib.suppress(RequestError):
        examples.add_video(head, action, "video/webm", b"video")
    with contextlib.suppress(RequestError):
        examples.remove(head, action, name)
    for path in root.rglob("*.*"):
        depth = path.relative_to(inside).parts
        assert path.is_dir() or (len(depth) == 4 and depth[1] == "examples")


async def test_what_a_camera_has_just_shown_gives_the_features_that_it_was_answered_with(
    session: aiohttp.ClientSession, directory: Path
) -> None:
    async with streaming(session, policy="wait", format="RGB", embedding="float") as client:
        await client.send(frame_messages(MOTION))
        answered = await client.next("prediction")
        status, kept = await _add(session, _examples("moves") % {"session": client.ready["session"]}, b"")
    assert status == 200
    import cv2

    place = directory / "teaching" / "door" / "examples" / "moves" / kept["name"]
    images = [cv2.imread(str(path)) for path in sorted(place.iterdir())]
    with contextlib.closing(load_engine(open_bundle(DEMO))) as engine:
        features = engine.infer([Clip(np.stack(images), "BGR")]).features
    assert features is not None
    assert np.allclose(features[0], answered["embedding"], rtol=1e-4, atol=1e-5)


async def test_draft_is_tried_on_a_stream_and_served_once_it_is_kept(
    server: LiveServer, session: aiohttp.ClientSession
) -> None:
    (gate,) = [one for one in (await _overview(session))["teaching"] if one["name"] == "gate"]
    assert gate["draft"]["name"] == "gate:new"
    async with streaming(session, head="gate:new", policy="wait") as client:
        await client.send(frame_messages(MOTION))
        assert (await client.next("prediction"))["predictions"][0] == {"label": "opens", "confidence": 0.75}
    async with streaming(session, head="gate") as client:
        assert "gate" in client.ready["detail"]
    async with session.post("/api/v1/teaching/gate/keep") as answer:
        assert answer.status == 200
    await asyncio.to_thread(server.wait_for, "head loaded")
    told = await _overview(session)
    assert [head["name"] for head in told["heads"]] == ["gate"]
    assert [one["draft"] for one in told["teaching"] if one["name"] == "gate"] == [None]
    for decision in ("keep", "discard"):
        async with session.post(f"/api/v1/teaching/gate/{decision}") as answer:
            assert answer.status == 404


async def test_head_that_cannot_be_taught_says_why(server: LiveServer, session: aiohttp.ClientSession) -> None:
    await _add(session, _examples("alone", head="lonely"))
    async with session.post("/api/v1/teaching/lonely/teach") as answer:
        assert answer.status == 200, await answer.text()
    async with session.post("/api/v1/teaching/lonely/teach") as answer:
        assert answer.status == 503
    await asyncio.to_thread(server.wait_for, "head taught")
    (lonely,) = [one for one in (await _overview(session))["teaching"] if one["name"] == "lonely"]
    assert lonely["is_taught"] is False
    assert "nothing to tell apart" in lonely["error"]
    assert lonely["draft"] is None
    async with session.post("/api/v1/teaching/nobody/teach") as answer:
        assert answer.status == 422


async def test_only_the_own_page_with_a_key_may_teach(server: LiveServer, session: aiohttp.ClientSession) -> None:
    for method, path in (
        ("GET", "/api/v1/teaching"),
        ("POST", str(_examples("opens"))),
        ("POST", "/api/v1/teaching/gate/teach"),
        ("POST", "/api/v1/teaching/gate/keep"),
        ("POST", "/api/v1/teaching/gate/discard"),
        ("DELETE", f"{_examples('opens')}/0123456789abcdef"),
    ):
        async with session.request(method, path, headers={"Origin": "https://elsewhere.test"}) as answer:
            assert answer.status == 403, path
        async with clients(server) as stranger, stranger.request(method, path) as answer:
            assert answer.status == 401, path


async def test_document_with_teaching_is_valid(session: aiohttp.ClientSession) -> None:
    async with session.get("/openapi.json") as answer:
        document = await answer.json()
    OpenAPIV31SpecValidator(document).validate()
    assert "delete" in document["paths"]["/api/v1/teaching/{head}/actions/{action}/examples/{example}"]


async def test_stop_ends_the_process_that_teaches(tmp_path: Path) -> None:
    with serving(DEMO, "--teaching", str(tmp_path / "teaching")) as server:
        async with clients(server) as session:
            for index, action in enumerate(("opens", "opens", "closes", "closes")):
                await _add(session, _examples(action), VIDEO + bytes(index + 1))
            async with session.post("/api/v1/teaching/door/teach") as answer:
                assert answer.status == 200
        assert await asyncio.to_thread(server.stop) == 0
    assert not [line for line in _command_lines() if str(tmp_path) in line]


def _command_lines() -> Iterator[str]:
    """Of all processes of this machine that there still are."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield file.read_text(errors="replace")


_HIDES = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "sklearn" else found(name, package)
"""


async def test_without_scikit_learn_it_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_HIDES)
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    server = LiveServer(DEMO, "--teaching", str(tmp_path / "teaching"), environment={"PYTHONPATH": paths})
    try:
        async with clients(server) as session:
            told = await _overview(session)
            assert told["missing"] == f"Teaching needs scikit-learn: {install_command('teach')}"
            await _add(session, _examples("opens"))
            async with session.post("/api/v1/teaching/door/teach") as answer:
                assert (answer.status, "scikit-learn" in (await answer.json())["detail"]) == (503, True)
    finally:
        await asyncio.to_thread(server.stop)
