"""Many recordings in one call: a few are open at a time, broken ones are skipped, and the engine is kept busy."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from consumer.sources.source import Kind
from consumer.sources.source_list import parse_sources
from tests.consumer.peers import LiveServer
from tests.consumer.processes import UNREACHABLE_URL, consume, end, start
from tests.consumer.recording_service import Received, RecordingService, answer
from tests.consumer.videos import at, write_video

StartServer = Callable[..., Awaitable[TestServer]]
MOST_OPEN = 8


def write_videos(directory: Path, count: int, seconds: float = 2.0) -> Path:
    """A directory with so many files, all with the same short video."""
    directory.mkdir()
    first = write_video(directory / "clip0.mp4", at(24, seconds), size=(320, 240), rate=24)
    for number in range(1, count):
        (directory / f"clip{number}.mp4").hardlink_to(first)
    return directory


def open_files(pid: int, directory: Path) -> set[str]:
    names = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            path = file.readlink()
        except OSError:
            # Closed since it was listed.
            continue
        if path.parent == directory:
            names.add(path.name)
    return names


async def test_300_files_keep_the_engine_busy_with_eight_of_them_open(live_server: LiveServer, tmp_path: Path) -> None:
    directory = write_videos(tmp_path / "clips", 300)
    (directory / "clip150.mp4").unlink()
    (directory / "clip150.mp4").write_text("broken")
    process = await start(directory, "--service-url", live_server.url, "--json")
    ending = asyncio.create_task(end(process))
    most_open = most_bytes = 0
    while not ending.done():
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            most_open = max(most_open, len(open_files(process.pid, directory)))
        except OSError:
            break
        if peak := re.search(r"VmHWM:\s+(\d+) kB", status):
            most_bytes = int(peak[1]) * 1024
        await asyncio.wait({ending}, timeout=0.05)
    ended = await ending
    assert ended.code == 1
    answers = [json.loads(line) for line in ended.output]
    assert {Path(each["source"]).name for each in answers} == {f"clip{n}.mp4" for n in range(300)} - {"clip150.mp4"}
    (failure,) = ended.failures
    assert "clip150.mp4" in failure
    assert 0 < most_open <= MOST_OPEN
    assert most_bytes <= 400e6
    # A clip that waits for the engine has found it at work; an engine that waits for clips takes each of them at once.
    waited = sum(each["timings_ms"]["queue"] > 1 for each in answers)
    assert waited >= 0.85 * len(answers)


async def test_no_more_than_eight_files_are_open(aiohttp_server: StartServer, tmp_path: Path) -> None:
    directory = write_videos(tmp_path / "clips", 40, seconds=0.5)
    seen: list[set[str]] = []
    process: list[int] = []

    async def reply(received: Received) -> web.StreamResponse:
        seen.append(open_files(process[0], directory))
        return answer(clip_id=received.query["clip_id"])

    service = RecordingService(reply)
    url = str((await aiohttp_server(service.application())).make_url("/"))

    def ready() -> web.Response:
        if not process:
            return web.json_response({"title": "loading"}, status=503)
        return web.json_response({"status": "ready"})

    service.ready = ready
    started = await start(directory, "--service-url", url)
    process.append(started.pid)
    assert (await end(started)).code == 0
    assert len(seen) == 40
    assert max(map(len, seen)) <= MOST_OPEN


async def test_files_that_cannot_be_read_are_skipped_and_named(aiohttp_server: StartServer, tmp_path: Path) -> None:
    directory = write_videos(tmp_path / "clips", 3, seconds=0.5)
    (directory / "a first.mp4").write_text("broken")
    (directory / "clip10.mp4").write_bytes(b"")
    url = str((await aiohttp_server(RecordingService().application())).make_url("/"))
    ended = await consume(directory, tmp_path / "missing.mp4", "--service-url", url, "--json")
    assert ended.code == 1
    assert {Path(json.loads(line)["source"]).name for line in ended.output} == {"clip0.mp4", "clip1.mp4", "clip2.mp4"}
    named = sorted(re.findall(r"cannot read .*/([^/]*\.mp4):", line)[0] for line in ended.failures)
    assert named == ["a first.mp4", "clip10.mp4", "missing.mp4"]
    assert " summary sources=6 failed=3 " in ended.errors[-1]


async def test_no_readable_file_ends_with_code_2_and_all_names(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("broken")
    ended = await consume(tmp_path / "a.mp4", tmp_path / "b.mp4", "--service-url", UNREACHABLE_URL)
    assert ended.code == 2
    assert ["a.mp4" in ended.errors[0], "b.mp4" in ended.errors[1]] == [True, True]


async def test_a_service_that_does_not_return_ends_all_files_at_once(
    aiohttp_server: StartServer, tmp_path: Path
) -> None:
    service = RecordingService()

    async def reply(received: Received) -> web.StreamResponse:
        service.ready = lambda: web.json_response({"title": "draining"}, status=503)
        return web.json_response({"title": "draining"}, status=503)

    service.reply = reply
    url = str((await aiohttp_server(service.application())).make_url("/"))
    ended = await consume(write_videos(tmp_path / "clips", 40, 0.5), "--service-url", url, "--wait", "1")
    assert ended.code == 1
    (failure,) = ended.failures
    assert "is not ready after 1 s" in failure
    # The files that were open, but none of those after them.
    assert len(service.received) < 40


def test_a_directory_stands_for_its_videos_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("10.MP4", "2.mkv", "notes.txt", "cover.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "more.mp4").mkdir()
    sources = parse_sources(str(tmp_path))
    assert [(Path(each.location).name, each.kind) for each in sources] == [("2.mkv", Kind.FILE), ("10.MP4", Kind.FILE)]


def test_a_directory_without_videos_is_one_of_images(tmp_path: Path) -> None:
    (tmp_path / "1.png").touch()
    assert [each.kind for each in parse_sources(str(tmp_path))] == [Kind.IMAGES]


def test_a_quoted_pattern_stands_for_what_it_matches(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ("a/10.mp4", "a/9.mp4", "a/b/1.mp4", "a/[1].mp4"):
        (tmp_path / name).touch()

    def found(pattern: str) -> list[str]:
        return [os.path.relpath(each.location, tmp_path) for each in parse_sources(f"{tmp_path}/{pattern}")]

    assert found("a/[0-9]*.mp4") == ["a/9.mp4", "a/10.mp4"]
    assert sorted(found("**/*.mp4")) == sorted(["a/9.mp4", "a/10.mp4", "a/[1].mp4", "a/b/1.mp4"])
    # A file that is there is meant by its name, even if it looks like a pattern.
    assert found("a/[1].mp4") == ["a/[1].mp4"]
    with pytest.raises(ValueError, match=r"no file matches '.*none-\*': accepted: |no file matches .*accepted: "):
        parse_sources(f"{tmp_path}/none-*")
