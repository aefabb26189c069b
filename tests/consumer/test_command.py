"""The consumer as it is used: ``python -m consumer`` in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from fractions import Fraction
from pathlib import Path

from aiohttp import web

from tests.consumer.peers import LiveServer, Serve
from tests.consumer.processes import UNREACHABLE_URL, consume, end, start
from tests.consumer.videos import at, damage, write_sound, write_video


async def test_each_clip_gives_a_json_line_and_a_log_line(live_server: LiveServer, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a b.mp4", at(30, 11), size=(640, 480))
    ended = await consume(video, "--service-url", live_server.url, "--json", "--log-format", "json", "--top-k", "2")
    assert ended.code == 0
    lines = [json.loads(line) for line in ended.output]
    assert [(line["start_s"], line["end_s"]) for line in lines] == [(0, 5.333), (5.333, 10.667), (5.667, 11)]
    for line in lines:
        assert list(line) == [
            "source", "start_s", "end_s", "predictions", "clip_id", "model", "timings_ms", "latency_ms",
        ]  # fmt: skip
        assert line["source"] == str(video)
        assert len(line["predictions"]) == 2
        assert set(line["predictions"][0]) == {"label", "confidence"}
        assert line["latency_ms"] >= line["timings_ms"]["total"]
    logged = [entry for entry in map(json.loads, ended.errors) if entry["event"] == "clip"]
    assert [(entry["label"], entry["start_s"]) for entry in logged] == [
        (line["predictions"][0]["label"], line["start_s"]) for line in lines
    ]


async def test_short_video_is_one_clip_and_logged_as_text(live_server: LiveServer, tmp_path: Path) -> None:
    ended = await consume(write_video(tmp_path / "a.mp4", at(25, 2)), "--service-url", live_server.url)
    assert ended.code == 0
    assert ended.output == []
    transport, short, clip, streamed, done, summary = ended.errors
    assert " INFO transport transport=stream " in transport
    assert "INFO video is shorter than a clip, sampling all of it evenly" in short
    assert " INFO clip " in clip
    for field in ("source=", "start_s=0.0 ", "end_s=2.0 ", "label=", "confidence=", "latency_ms="):
        assert field in clip
    assert " INFO stream ended " in streamed
    assert done.endswith("clips=1")
    assert " INFO summary sources=1 failed=0 clips=1 seconds=" in summary


async def test_a_wrong_frame_count_is_refused_by_the_service(live_server: LiveServer, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", at(30, 2))
    ended = await consume(video, "--service-url", live_server.url, "--frames", "3")
    assert ended.code == 1
    (failure,) = ended.failures
    assert " ERROR the service refused the request with 422 " in failure
    assert "(field frames); help: leave out --frames" in failure


async def test_sources_without_video_fail_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "notes.txt").write_text("hello\n" * 100)
    write_sound(tmp_path / "sound.m4a")
    for name, said in (
        ("missing.mp4", "no such file or directory"),
        ("text.mp4", "invalid data"),
        ("notes.txt", "no video"),
        ("sound.m4a", "no video"),
    ):
        # The service is not even asked for: with nobody there, waiting for it would take half a minute.
        ended = await consume(tmp_path / name, "--service-url", UNREACHABLE_URL)
        assert ended.code == 2
        (line,) = ended.errors
        assert " ERROR " in line
        assert said in line
        assert "; help: " in line


async def test_video_without_decodable_frames_fails(serve: Serve, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", at(30, 1), codec="mpeg4", time_base=Fraction(1, 30))
    damage(video, slice(None))
    ended = await consume(video, "--service-url", await serve())
    assert ended.code == 2
    assert "could be decoded; help: " in ended.failures[-1]


async def test_missing_service_fails_with_wait_zero(tmp_path: Path) -> None:
    ended = await consume(write_video(tmp_path / "a.mp4", at(30, 1)), "--service-url", UNREACHABLE_URL, "--wait", "0")
    assert ended.code == 1
    waiting, gave_up = ended.errors
    assert " WARNING waiting for the service " in waiting
    assert "is not ready after 0 s: cannot be reached: connection refused; help: " in gave_up


async def test_invalid_argument_gives_two_lines_and_code_2() -> None:
    ended = await consume("a.mp4", "--fps", "0")
    assert ended.code == 2
    assert ended.errors == [
        "ERROR --fps: '0' is not a number from 0.01 to 240",
        "help: `.venv/bin/python -m consumer --help` explains all arguments",
    ]


async def test_failure_after_a_success_gives_code_1(serve: Serve, tmp_path: Path) -> None:
    asked: list[None] = []

    async def infer(request: web.Request) -> web.Response:
        asked.append(None)
        if len(asked) == 2:
            return web.json_response({"title": "Internal Server Error"}, status=500)
        answer = {"predictions": [{"label": "a", "confidence": 1}], "clip_id": "1", "model": "m", "timings_ms": {}}
        return web.json_response(answer)

    video = write_video(tmp_path / "a.mp4", at(30, 11))
    ended = await consume(video, "--service-url", await serve(infer), "--json")
    assert ended.code == 1
    assert len(ended.output) == 1
    assert "500 Internal Server Error" in ended.failures[-1]


async def test_text_log_shows_names_and_answers_without_control_characters(serve: Serve, tmp_path: Path) -> None:
    hostile = "a\x1b[31m\u202e\x9b\x7f\n2026-01-01 00:00:00 ERROR forged"
    asked: list[None] = []

    async def infer(request: web.Request) -> web.Response:
        asked.append(None)
        if len(asked) == 2:
            return web.json_response({"title": hostile, "detail": hostile}, status=422)
        answer = {"predictions": [{"label": hostile, "confidence": 1}], "clip_id": hostile, "model": "m"}
        return web.json_response(answer | {"timings_ms": {}})

    video = write_video(tmp_path / f"{hostile.replace('/', '')}.mp4", at(30, 11))
    process = await start(video, "--service-url", await serve(infer))
    _, errors = await process.communicate()
    lines = errors.decode().removesuffix("\n").split("\n")
    assert all(line.isprintable() and line.startswith("20") for line in lines)
    assert not [line for line in lines if line.startswith("2026-01-01 00:00:00")]
    assert any(" INFO clip " in line and line.count("forged") == 3 for line in lines)


async def test_ctrl_c_while_waiting_for_the_service(tmp_path: Path) -> None:
    process = await start(write_video(tmp_path / "a.mp4", at(30, 1)), "--service-url", UNREACHABLE_URL, "--wait", "600")
    assert process.stderr
    assert b"waiting for the service" in await process.stderr.readline()
    process.send_signal(signal.SIGINT)
    ended = await end(process)
    assert (ended.code, ended.errors) == (130, [])


async def test_ctrl_c_while_a_clip_is_classified(serve: Serve, tmp_path: Path) -> None:
    asked, never = asyncio.Event(), asyncio.Event()

    async def infer(request: web.Request) -> web.Response:
        asked.set()
        await never.wait()
        raise AssertionError

    video = write_video(tmp_path / "a.mp4", at(30, 11))
    process = await start(video, "--service-url", await serve(infer))
    await asked.wait()
    process.send_signal(signal.SIGINT)
    ended = await end(process)
    never.set()
    assert ended.code == 130
    transport, summary = ended.errors
    assert " INFO transport transport=clips " in transport
    assert " INFO summary sources=1 failed=0 clips=0 " in summary


async def test_closed_stdout_ends_the_run(live_server: LiveServer, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", at(30, 1))
    read, write = os.pipe()
    os.close(read)
    process = await start(video, "--service-url", live_server.url, "--json", stdout=write)
    os.close(write)
    assert (await end(process)).code == 141


async def test_help_names_the_environment_variables() -> None:
    ended = await consume("--help")
    assert ended.code == 0
    manual = "".join("".join(ended.output).split())
    for variable in ("CONSUMER_FPS", "CONSUMER_JSON", "CONSUMER_EVENTS", "CONSUMER_METRICS_PORT", "SERVICE_URL"):
        assert f"VJEPA_{variable}]" in manual
    assert "VJEPA_CONSUMER_SOURCES" in manual
