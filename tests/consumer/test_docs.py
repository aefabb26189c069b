"""Every command of docs/consumer.md is run, with the places it names put where there is something."""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from tests.consumer.peers import LiveServer
from tests.consumer.processes import ROOT, consuming
from tests.consumer.senders import free_port, rtsp_server, udp_camera
from tests.consumer.test_image_directory import write_images

DOCUMENT = (ROOT / "docs/consumer.md").read_text()
COMMAND = ".venv/bin/just consume "


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, flags=re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    # tests/test_docs.py checks what the other commands name.
    assert all(line.startswith((COMMAND, "sudo ", "journalctl ")) or "docker-compose" in line for line in lines)
    return [line.removeprefix(COMMAND) for line in lines if line.startswith(COMMAND)]


@pytest.fixture
def places(tmp_path: Path, unused_tcp_port: int) -> Iterator[dict[str, str]]:
    """What is there instead of each place in the document."""
    rtp, mpegts = free_port(), free_port()
    with (
        rtsp_server() as camera,
        udp_camera(f"rtp://127.0.0.1:{rtp}", "rtp") as first,
        udp_camera(f"udp://127.0.0.1:{mpegts}?pkt_size=1316", "mpegts") as second,
    ):
        first.on()
        second.on()
        yield {
            "rtsp://user:password@camera/stream": camera.url,
            "rtsp://camera/stream": camera.url,
            "udp://0.0.0.0:5004": f"udp://127.0.0.1:{rtp}",
            "udp://0.0.0.0:5000": f"udp://127.0.0.1:{mpegts}",
            "https://example.org/hook": f"http://127.0.0.1:{unused_tcp_port}/hook",
            "mqtt://broker/cameras/door": f"mqtt://127.0.0.1:{unused_tcp_port}/cameras/door",
            "frames/": str(write_images(tmp_path / "frames", 80)),
            "evidence/": str(tmp_path / "evidence"),
        }


@pytest.mark.parametrize("command", commands())
async def test_each_command_classifies_clips(live_server: LiveServer, places: dict[str, str], command: str) -> None:
    for place, instead in places.items():
        command = command.replace(place, instead)
    # Quicker than a third of a second for each of sixteen frames, where the command has no opinion.
    quicker = () if "--fps" in command else ("--fps", "15")
    async with consuming(*shlex.split(command), *quicker, "--service-url", live_server.url) as consumer:
        await consumer.until("clip")
        if "udp:" in command:
            for source in shlex.split(command):
                await consumer.until("clip", source=source)
        with contextlib.suppress(ProcessLookupError):
            await consumer.stop(signal.SIGTERM)
        assert await consumer.ended() == 0


def test_client_examples_run(live_server: LiveServer) -> None:
    first, second, third = blocks("python")
    frames = np.zeros((16, 64, 64, 3), np.uint8)
    assert len([line for line in first.splitlines() if line]) == 3
    exec(compile(first.replace("http://localhost:8000", live_server.url), "first", "exec"), {"frames": frames})
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(second.replace("http://localhost:8000", live_server.url), "second", "exec", flags=flags)
    import asyncio

    names: dict[str, Any] = {"frames": frames}
    asyncio.run(eval(code, names))
    assert names["answer"].clip_id == "door 17"
    assert len([line for line in third.splitlines() if line]) <= 10
    streamed: dict[str, Any] = {"images": [simplejpeg.encode_jpeg(frame, 90, "RGB") for frame in [*frames, *frames]]}
    exec(compile(third.replace("http://localhost:8000", live_server.url), "third", "exec"), streamed)
    assert [window.window for window in streamed["windows"]] == list(range(5))


def test_script_runs_from_any_directory(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "consumer/rtsp_consumer.py"), "missing.mp4"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 2
    assert "cannot read missing.mp4: no such file or directory; help: give the path of a video file" in ended.stderr


def test_named_modules_flags_and_metrics_exist() -> None:
    modules = set(re.findall(r"`([\w/]+\.py)`", DOCUMENT))
    assert len(modules) > 20
    assert {name for name in modules if not any((ROOT / room / name).exists() for room in ("consumer", "."))} == set()
    manual = subprocess.run([sys.executable, "-m", "consumer", "--help"], capture_output=True, text=True, check=True)
    flags = set(re.findall(r"`(--[a-z-]+)", DOCUMENT)) - {"--help"}
    assert {flag for flag in flags if flag not in manual.stdout} == set()
    metrics = (ROOT / "consumer/output/metrics.py").read_text()
    named = re.findall(r"`(?:vjepa_consumer)?(_[a-z_]+)[`{]", DOCUMENT)
    assert len(named) > 5
    assert {name for name in named if f'vjepa_consumer{name.removesuffix("_total")}"' not in metrics} == set()
