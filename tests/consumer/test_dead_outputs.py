"""An output that cannot work is noticed at the start; one that dies ends the run at once, with a message."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from consumer.output.event_sinks import MOST_TOPIC_BYTES, check_target
from tests.consumer.processes import TIMEOUT_S, UNREACHABLE_URL, consume, end, start
from tests.consumer.recording_service import Received, RecordingService, answer
from tests.consumer.senders import rtsp_server
from tests.consumer.videos import at, write_video

StartServer = Callable[[web.Application], Awaitable[TestServer]]

RULES = ("--event-clips", "1", "--fps", "20")


@pytest.fixture
async def service_url(aiohttp_server: StartServer) -> str:
    """Sees another label in each clip, so that each clip ends an action and starts one."""
    service = RecordingService()

    async def reply(received: Received) -> web.Response:
        return answer(f"label {len(service.received)}")

    service.reply = reply
    return str((await aiohttp_server(service.application())).make_url("/"))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("mqtt://broker/a/+/b", "wildcards"),
        ("mqtt://broker/a/#", "wildcards"),
        ("mqtt://broker/a%23", "wildcards"),
        ("mqtt://broker/a%00b", "zero byte"),
        ("mqtt://broker/a#b", "wildcards"),
        ("mqtt://broker/a?b", "no query"),
        ("mqtt://broker/", "a topic is needed"),
        ("mqtt://broker/" + "t" * (MOST_TOPIC_BYTES + 1), "longer than 65535 bytes"),
        ("http://hook:0/x", "no port"),
        ("http://hook:99999/x", "not a valid URL"),
        ("http://a..b/x", "not a valid URL"),
        ("http:///x", "no host"),
        ("stderr", "no scheme"),
    ],
)
def test_target_that_cannot_work_is_refused(target: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"{said}.*; accepted: stdout, http://"):
        check_target(target)


async def test_wildcard_in_a_topic_is_refused_at_the_start() -> None:
    ended = await consume("a.mp4", "--events", "mqtt://broker/a/+/b")
    assert ended.code == 2
    line, _ = ended.errors
    assert "events cannot be published to a topic with one of the wildcards + and #" in line


@pytest.mark.parametrize("flags", [("--events", "stdout"), ("--json",)], ids=" ".join)
async def test_closed_stdout_is_noticed_before_the_service_is_asked(tmp_path: Path, flags: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    video = write_video(tmp_path / "a.mp4", at(12, 1))
    process = await start(video, "--service-url", UNREACHABLE_URL, *flags, stdout=write)
    os.close(write)
    assert (await end(process)).code == 141


async def test_reader_of_the_events_that_ends_ends_the_consumer(service_url: str) -> None:
    read, write = os.pipe()
    with rtsp_server() as camera:
        process = await start(camera.url, "--service-url", service_url, "--events", "stdout", *RULES, stdout=write)
        os.close(write)
        with os.fdopen(read) as events:
            assert await asyncio.to_thread(events.readline)
        async with asyncio.timeout(TIMEOUT_S):
            ended = await end(process)
    assert ended.code == 141


@pytest.mark.parametrize("flags", [("--events", "stdout"), ("--json",)], ids=" ".join)
async def test_full_disk_below_stdout_ends_the_consumer(service_url: str, flags: tuple[str, ...]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with rtsp_server() as camera:
        process = await start(camera.url, "--service-url", service_url, *flags, *RULES, stdout=full)
        os.close(full)
        async with asyncio.timeout(TIMEOUT_S):
            ended = await end(process)
    assert ended.code == 2
    (line,) = [line for line in ended.errors if "cannot write to stdout" in line]
    assert "No space left on device; help: " in line
    # The clip whose event cannot be written, and those that were under way.
    assert sum(" INFO clip " in line for line in ended.errors) <= 5


async def test_webhook_s_redirect_is_not_followed(
    service_url: str, tmp_path: Path, aiohttp_server: StartServer
) -> None:
    asked: list[str] = []

    async def hook(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path}")
        raise web.HTTPMovedPermanently("/elsewhere")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", hook)
    url = str((await aiohttp_server(app)).make_url("/hook"))
    video = write_video(tmp_path / "a.mp4", at(12, 1), rate=12)
    ended = await consume(video, "--service-url", service_url, "--events", url, "--event-clips", "1")
    assert ended.code == 0
    assert asked == ["POST /hook"] * 2
    assert sum("event lost" in line and "a redirect, which is not followed" in line for line in ended.errors) == 2
