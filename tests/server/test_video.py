"""Whole videos: answered window by window as ``label`` would, and whatever a video is, only its decoder suffers."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

pytest.importorskip("av")
pytest.importorskip("pyarrow")

from engines.storage.bundle import DEMO
from export.demo.show import SAMPLE
from tests.archive.recordings import write_frames, write_recording
from tests.heads import constant_head
from tests.in_process import run_here
from tests.live_server import LiveServer, serving
from tests.server.hostile_videos import hostile_videos
from tests.server.peers import clients, metrics
from tests.video_fuzz import send_video

VIDEO = {"Content-Type": "video/mp4"}
EACH_FRAME = {"fps": "12", "stride": "1"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("heads")
    constant_head(directory / "door", ("opens", "closes"), 0.9)
    with serving(DEMO, "--heads", str(directory), "--max-videos", "1", "--max-video-mb", "1") as server:
        yield server


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two minutes, whose windows take far longer than a test waits."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    write_frames(path, np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), np.uint8).repeat(72, axis=0))
    return path.read_bytes()


@pytest.fixture
async def session(service: LiveServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with clients(service) as session:
        yield session


async def _answer(session: aiohttp.ClientSession, video: bytes, **query: str) -> tuple[int, list[dict[str, Any]]]:
    async with session.post("/api/v1/video", data=video, params=query, headers=VIDEO) as response:
        return response.status, [json.loads(line) for line in (await response.read()).splitlines()]


async def test_a_video_is_answered_as_it_is_labelled(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    path = tmp_path / "one.mp4"
    write_recording(path, seed=5, actions=2)
    labelled = json.loads(run_here("archive", str(path), "--bundle", str(DEMO), "--format", "json").stdout)
    status, lines = await _answer(session, path.read_bytes())
    assert status == 200
    windows = [line for line in lines if line["type"] == "window"]
    segments = [line for line in lines if line["type"] == "segment"]
    assert [line["type"] for line in lines] == ["window"] * len(windows) + ["segment"] * len(segments) + ["ended"]
    assert lines[-1] == {
        "type": "ended",
        "model": "demo",
        "head": None,
        "windows": len(windows),
        "segments": len(segments),
    }
    assert [segment["label"] for segment in segments] == [segment["label"] for segment in labelled["segments"]]
    for one, other in zip(windows, labelled["windows"], strict=True):
        assert one["start_s"] == pytest.approx(other["start_s"], abs=1e-3)
        assert one["predictions"][0]["label"] == other["predictions"][0]["label"]
        assert one["predictions"][0]["confidence"] == pytest.approx(other["predictions"][0]["confidence"], abs=1e-5)


async def test_windows_have_low_priority_and_are_counted(session: aiohttp.ClientSession) -> None:
    name = "vjepa_low_priority_clips_total"
    before = (await metrics(session)).get(name, 0)
    _, lines = await _answer(session, SAMPLE.read_bytes(), stride="4", fps="6")
    assert (await metrics(session))[name] - before == lines[-1]["windows"]


async def test_a_head_labels_a_video(session: aiohttp.ClientSession) -> None:
    _, lines = await _answer(session, SAMPLE.read_bytes(), head="door", top_k="3")
    assert [prediction["label"] for prediction in lines[0]["predictions"]] == ["opens", "closes", "unknown"]
    assert lines[-1]["head"] == "door"


@pytest.mark.parametrize(
    ("query", "status", "told"),
    [
        ({"head": "window"}, 422, "head is window; accepted: all, door"),
        ({"head": "all"}, 422, "labelled by one head"),
        ({"fps": "0"}, 422, "fps is '0': expected `float` >= 0.01"),
        ({"stride": "x"}, 422, "stride is 'x'"),
        ({"top_k": "12"}, 422, "top_k is 12; accepted: 1 to 11"),
        ({"speed": "2"}, 422, "unknown field speed; accepted: fps, stride, top_k, head, model"),
        ({"model": "other"}, 422, "model is other; accepted: demo"),
    ],
)
async def test_wrong_fields_are_named(
    session: aiohttp.ClientSession, query: dict[str, str], status: int, told: str
) -> None:
    answered, [problem] = await _answer(session, SAMPLE.read_bytes(), **query)
    assert answered == status
    assert told in problem["detail"]


async def test_other_types_and_sizes_are_refused(session: aiohttp.ClientSession) -> None:
    async with session.post("/api/v1/video", data=b"{}", headers={"Content-Type": "application/json"}) as response:
        assert response.status == 415
    status, [problem] = await _answer(session, bytes(2**20 + 1))
    assert (status, problem["detail"]) == (413, "the body has 1048577 bytes; accepted: at most 1048576")
    headers = VIDEO | {"Content-Encoding": "gzip"}
    async with session.post("/api/v1/video", data=b"x", headers=headers) as response:
        assert response.status == 415


async def test_hostile_videos_get_documented_answers_and_cost_only_their_decoder(
    service: LiveServer, session: aiohttp.ClientSession
) -> None:
    for video in itertools.islice(hostile_videos(random.Random(1)), 12):
        await send_video(session, video)
    assert (await _answer(session, SAMPLE.read_bytes()))[0] == 200
    assert not [entry for entry in service.log if entry["level"] in ("ERROR", "CRITICAL")]


async def test_a_client_that_leaves_frees_its_place(session: aiohttp.ClientSession, long_video: bytes) -> None:
    response = await session.post("/api/v1/video", data=long_video, params=EACH_FRAME, headers=VIDEO)
    await response.content.readline()
    # The only place is taken.
    status, [problem] = await _answer(session, SAMPLE.read_bytes())
    assert (status, problem["detail"]) == (503, "1 videos are in the service already")
    response.close()
    async with asyncio.timeout(20):
        while (await _answer(session, SAMPLE.read_bytes()))[0] == 503:
            await asyncio.sleep(0.05)


async def test_answers_name_the_request_and_no_versions(session: aiohttp.ClientSession) -> None:
    headers = VIDEO | {"X-Request-Id": "video-7"}
    async with session.post("/api/v1/video", data=SAMPLE.read_bytes(), headers=headers) as response:
        assert (response.headers["X-Request-Id"], response.headers["Server"]) == ("video-7", "vjepa2-serve")


async def test_a_video_that_takes_too_long_ends_with_an_error(long_video: bytes) -> None:
    with serving(DEMO, "--video-timeout-s", "2") as server:
        async with clients(server) as session:
            status, lines = await _answer(session, long_video, **EACH_FRAME)
        assert status == 200
        assert lines[-1]["type"] == "error"
        assert lines[-1]["problem"]["status"] == 504
        assert "--video-timeout-s" in lines[-1]["problem"]["detail"]


async def test_a_stop_ends_a_video_with_an_error(long_video: bytes) -> None:
    with serving(DEMO) as server:
        async with clients(server) as session:
            response = await session.post("/api/v1/video", data=long_video, params=EACH_FRAME, headers=VIDEO)
            await response.content.readline()
            server.process.send_signal(signal.SIGTERM)
            *_, last = (await response.read()).splitlines()
        assert json.loads(last)["problem"]["status"] == 503
        assert server.wait() == 0


async def test_other_machines_are_refused_unless_the_flag_is_given() -> None:
    with serving(DEMO, "--host", "0.0.0.0") as server:
        async with clients(server) as session:
            status, [problem] = await _answer(session, SAMPLE.read_bytes())
    assert (status, problem["detail"]) == (403, "videos are not accepted here; start the service with --video")
