"""The log at a terminal, which is a real one: a pseudo-terminal of this machine."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from consumer.output.text_log import TextFormatter
from tests.consumer.processes import ROOT
from tests.consumer.recording_service import Received, RecordingService, answer
from tests.consumer.videos import at, write_video

StartServer = Callable[[web.Application], Awaitable[TestServer]]
LABEL = "Moving something and something so that they collide with each other, then \x1b[31mfall \x07over"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


async def shown(*arguments: str | Path, columns: int, **environment: str) -> str:
    """What a terminal with so many columns is sent by the consumer."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM", "COLUMNS")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumer", *map(str, arguments)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=its,
        cwd=ROOT,
        env=variables | {"TERM": "xterm", "COLUMNS": str(columns)} | environment,
    )
    os.close(its)
    text = await asyncio.to_thread(_read_all, ours)
    assert await process.wait() == 0
    return text


def _read_all(terminal: int) -> str:
    parts = []
    while True:
        try:
            part = os.read(terminal, 65_536)
        except OSError:
            # Linux ends a pseudo-terminal that nobody writes to any more with an error.
            part = b""
        if not part:
            os.close(terminal)
            return b"".join(parts).decode()
        parts.append(part)


async def service_url(aiohttp_server: StartServer, pause_s: float = 0.0) -> str:
    async def reply(received: Received) -> web.StreamResponse:
        await asyncio.sleep(pause_s)
        return answer(LABEL, 0.91, received.query["clip_id"])

    return str((await aiohttp_server(RecordingService(reply).application())).make_url("/"))


@pytest.mark.parametrize("columns", [80, 100, 200])
async def test_each_clip_is_one_line_that_fits(aiohttp_server: StartServer, tmp_path: Path, columns: int) -> None:
    video = write_video(tmp_path / f"{'long ' * 20}name.mp4", at(12, 8), rate=12)
    text = await shown(video, "--service-url", await service_url(aiohttp_server), columns=columns)
    clips = [line for line in COLOUR.sub("", text).split("\n") if "Moving something" in line]
    assert len(clips) == 3
    for line in clips:
        visible = line.rstrip("\r").rsplit("\x1b[K", 1)[-1]
        assert len(visible) <= min(columns, 100)
        assert visible.isprintable()
        assert re.search(r"^\d\d:\d\d:\d\d ….*name\.mp4 +\d\.\d-\d\.\d s +91 % Moving something", visible)
    assert "\x1b[32m" in text
    assert "\x1b[31mfall" not in text


async def test_colours_can_be_turned_off(aiohttp_server: StartServer, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", at(12, 3), rate=12)
    text = await shown(video, "--service-url", await service_url(aiohttp_server), columns=100, NO_COLOR="1")
    assert "91 %" in text
    assert not COLOUR.search(text)


async def test_progress_is_the_last_line_and_gone_at_the_end(aiohttp_server: StartServer, tmp_path: Path) -> None:
    for name in ("1.mp4", "2.mp4", "3.mp4"):
        write_video(tmp_path / name, at(12, 2), rate=12)
    url = await service_url(aiohttp_server, pause_s=0.8)
    text = await shown(tmp_path, "--service-url", url, "--in-flight", "1", columns=100)
    plain = COLOUR.sub("", text)
    assert re.search(r"\r\x1b\[Kprogress files=1/3 percent=33.3 clips=1 ", plain)
    last = plain.rstrip().split("\n")[-1]
    assert re.search(r"\r\x1b\[K\d\d:\d\d:\d\d summary sources=3 failed=0 clips=\d+ seconds=", last)


def test_no_dictionary_is_written_as_python_writes_it() -> None:
    record = logging.makeLogRecord({"msg": "event", "times": {"a": 1.5, "b": {"c": "x y"}}, "names": ["p", "q"]})
    assert TextFormatter("%(message)s").format(record) == 'event times.a=1.5 times.b.c="x y" names=p,q'
