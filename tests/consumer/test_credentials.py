"""Passwords in URLs reach neither logs nor events, predictions, metrics or names of files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from consumer.shown_text import shown_url, without_credentials
from tests.consumer.processes import UNREACHABLE_URL, consume, consuming
from tests.consumer.recording_service import RecordingService, answer
from tests.consumer.senders import rtsp_server
from tests.consumer.videos import at, write_video

StartServer = Callable[[web.Application], Awaitable[TestServer]]

SECRET = "geheim"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://u:geheim@camera:554/1?a=b", "rtsp://camera:554/1?a=b"),
        ("rtsp://u:ge@geheim@camera/1", "rtsp://camera/1"),
        ("rtsp://camera/live?user=u&password=geheim&channel=1", "rtsp://camera/live?user=u&password=***&channel=1"),
        ("rtsp://camera/user=u_password=geheim_channel=1_stream=0", "rtsp://camera/user=u_password=***_channel=1_stream=0"),
        ("https://hook/x?access_token=geheim", "https://hook/x?access_token=***"),
        ("rtsp://camera/a@b", "rtsp://camera/a@b"),
        ("failed: 'rtsp://u:geheim@camera/1'", "failed: 'rtsp://camera/1'"),
    ],
)  # fmt: skip
def test_credentials_are_taken_out(url: str, expected: str) -> None:
    assert without_credentials(url) == expected


@pytest.mark.parametrize(
    "url", ["rtsp://u:ge/heim@camera/1", "rtsp://u:geheim@camera:99999/", "//u:geheim@x", "rtsp://["]
)
def test_broken_url_is_shown_without_credentials(url: str) -> None:
    assert "heim" not in shown_url(url)


@pytest.mark.parametrize(
    "arguments",
    [
        ("rtsp://u:geheim@camera:99999/1",),
        ("rtmp://u:geheim@camera/1",),
        ("udp://u:geheim@camera",),
        ("a.mp4", "--service-url", "ftp://u:geheim@host"),
        ("a.mp4", "--events", "mqtt://u:geheim@broker/a/+/b"),
        ("a.mp4", "--fps", "rtsp://u:geheim@camera/1"),
    ],
)
async def test_refused_arguments_do_not_show_passwords(arguments: tuple[str, ...]) -> None:
    ended = await consume(*arguments)
    assert ended.code == 2
    assert len(ended.errors) == 2
    assert SECRET not in "".join(ended.errors)


async def test_unreachable_service_is_named_without_its_password(tmp_path: Path) -> None:
    url = UNREACHABLE_URL.replace("://", f"://u:{SECRET}@")
    ended = await consume(write_video(tmp_path / "a.mp4", at(12, 1)), "--service-url", url, "--wait", "0")
    assert ended.code == 1
    assert UNREACHABLE_URL in ended.errors[-1]
    assert not [line for line in ended.errors if SECRET in line]


async def test_passwords_of_a_camera_stay_out_of_all_outputs(
    aiohttp_server: StartServer, unused_tcp_port: int, tmp_path: Path
) -> None:
    service = RecordingService(reply=lambda received: asyncio.sleep(0, answer()))
    url = str((await aiohttp_server(service.application())).make_url("/"))
    with rtsp_server() as camera:
        source = camera.url.replace("://", f"://user:{SECRET}@") + f"?password={SECRET}"
        gone = f"rtsp://user:{SECRET}@127.0.0.1:9/{SECRET[:0]}x"
        flags = ("--service-url", url, "--fps", "20", "--events", "stdout", "--json", "--save-clips", tmp_path)
        async with consuming(source, gone, *flags, "--metrics-port", str(unused_tcp_port)) as consumer:
            await consumer.until("clip saved")
            await consumer.until("action start")
            await consumer.until("source lost, connecting again")
            metrics = await text_of(f"http://127.0.0.1:{unused_tcp_port}/metrics")
            with pytest.raises(aiohttp.ClientConnectorError):
                # Another address of this machine, at which only a program that listens on all of them answers.
                await text_of(f"http://127.0.0.2:{unused_tcp_port}/metrics")
            assert await consumer.stop() == 130
    shown = [json.dumps(consumer.log), json.dumps(consumer.output), metrics, *map(str, tmp_path.iterdir())]
    assert all("127.0.0.1" in text for text in shown[:3])
    assert not [text for text in shown if SECRET in text]


async def test_metrics_host_chooses_the_address(aiohttp_server: StartServer, unused_tcp_port: int) -> None:
    url = str((await aiohttp_server(RecordingService().application())).make_url("/"))
    with rtsp_server() as camera:
        flags = ("--service-url", url, "--metrics-host", "127.0.0.2", "--metrics-port", str(unused_tcp_port))
        async with consuming(camera.url, *flags) as consumer:
            await consumer.until("source connected")
            assert "vjepa_consumer" in await text_of(f"http://127.0.0.2:{unused_tcp_port}/metrics")
            assert await consumer.stop() == 130


async def text_of(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as reply:
        return await reply.text()
