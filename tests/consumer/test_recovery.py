"""A service that is not there yet, goes away, is busy or slow; and Ctrl-C in each of these."""

from __future__ import annotations

import asyncio
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import psutil
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from engines.storage.bundle import DEMO
from tests.consumer.peers import LiveServer
from tests.consumer.processes import consume, consuming
from tests.consumer.recording_service import Received, RecordingService, answer
from tests.consumer.senders import rtsp_server
from tests.consumer.videos import at, write_video
from tests.live_server import ROOT, serving

StartServer = Callable[..., Awaitable[TestServer]]

MIB = 2**20
ALERTS = ROOT / "deploy/prometheus-alerts.yml"


async def test_consumer_waits_for_a_service_that_starts_later(tmp_path: Path, unused_tcp_port: int) -> None:
    video = write_video(tmp_path / "a.mp4", at(12, 16 / 3), rate=12)
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with consuming(video, "--service-url", url) as consumer:
        waiting = await consumer.until("waiting for the service")
        assert "connection refused" in waiting["reason"]
        with serving(DEMO, "--port", str(unused_tcp_port)):
            ready = await consumer.until("service ready")
            assert ready["waited_s"] > 0
            await consumer.until("clip")
            assert await consumer.ended() == 0


async def test_camera_continues_after_service_restarts(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    with rtsp_server() as camera:
        async with consuming(camera.url, "--service-url", url, "--fps", "20") as consumer:
            for restarts in range(1, 3):
                with serving(DEMO, "--port", str(unused_tcp_port)) as server:
                    await consumer.until("service ready", restarts)
                    await consumer.until("clip", len(consumer.entries("clip")) + 2)
                    assert server.stop() == 0
                await consumer.until("service lost", restarts)
            assert await consumer.stop(signal.SIGTERM) == 0
    assert not consumer.entries("source lost, connecting again")
    assert len(consumer.entries("service lost")) == 2


async def test_killed_service_loses_no_clip_of_a_file(tmp_path: Path, unused_tcp_port: int) -> None:
    video = write_video(tmp_path / "a.mp4", at(12, 8 * 16 / 3), rate=12, size=(64, 48))
    port = ("--port", str(unused_tcp_port))
    with serving(DEMO, *port, module="tests.faulty_server") as server:
        server.tell("hold")
        server.wait_for("told")
        warmed_up = len(server.entries("in engine"))
        arguments = ("--service-url", f"http://127.0.0.1:{unused_tcp_port}", "--json", "--in-flight", "2")
        async with consuming(video, *arguments) as consumer:
            await asyncio.to_thread(server.wait_for, "in engine", warmed_up + 1)
            server.process.kill()
            server.wait()
            await consumer.until("service lost")
            with serving(DEMO, *port):
                assert await consumer.ended() == 0
    starts_s = [line["start_s"] for line in consumer.output]
    assert starts_s == pytest.approx([index * 16 / 3 for index in range(8)], abs=0.01)


async def test_file_fails_after_the_wait_limit(tmp_path: Path, unused_tcp_port: int) -> None:
    video = write_video(tmp_path / "a.mp4", at(12, 1))
    ended = await consume(video, "--service-url", f"http://127.0.0.1:{unused_tcp_port}", "--wait", "1")
    assert ended.code == 1
    assert "is not ready after 1 s" in ended.errors[-1]


async def test_file_retries_a_busy_service(tmp_path: Path, aiohttp_server: StartServer) -> None:
    asked: Counter[str] = Counter()

    async def reply(received: Received) -> web.Response:
        asked[received.query["clip_id"]] += 1
        if asked[received.query["clip_id"]] < 3:
            return web.json_response({"title": "busy"}, status=429, headers={"Retry-After": "0"})
        return answer(clip_id=received.query["clip_id"])

    url = str((await aiohttp_server(RecordingService(reply=reply).application())).make_url("/"))
    ended = await consume(write_video(tmp_path / "a.mp4", at(12, 16), rate=12), "--service-url", url)
    assert ended.code == 0
    assert list(asked.values()) == [3] * 6
    assert any("clips=6" in line for line in ended.errors)
    assert any("service busy, trying again" in line for line in ended.errors)


async def test_eight_cameras_with_a_slow_service_stay_bounded_and_fair(
    aiohttp_server: StartServer, unused_tcp_port: int
) -> None:
    """Memory stays flat, what is dropped is counted, and nobody starves."""
    service = RecordingService()

    async def reply(received: Received) -> web.Response:
        # A test's memory must not grow with what it was sent.
        service.received[-1] = Received(received.frames[:0], {}, {})
        await asyncio.sleep(0.5)
        return answer()

    service.reply = reply
    url = str((await aiohttp_server(service.application())).make_url("/"))
    with rtsp_server(size=(320, 240)) as camera:
        cameras = [f"{camera.url}{number}" for number in range(8)]
        flags = ("--service-url", url, "--fps", "10", "--in-flight", "2", "--metrics-port", str(unused_tcp_port))
        async with consuming(*cameras, *flags) as consumer:
            for source in cameras:
                await consumer.until("clip", 1, source=source)
            process = psutil.Process(consumer.process.pid)
            began_bytes, began = process.memory_info().rss, len(consumer.entries("clip"))
            await consumer.until("clip", began + 48)
            grown_bytes = process.memory_info().rss - began_bytes
            figures = await scraped(f"http://127.0.0.1:{unused_tcp_port}/metrics")
            assert await consumer.stop() == 130
    dropped = sum(value for name, value in figures.items() if 'outcome="dropped"' in name)
    assert dropped >= 48
    # Each clip is 1.8 MB: had the dropped ones been kept, that would be 90 MB.
    assert grown_bytes < 24 * MIB
    classified = Counter(entry["source"] for entry in consumer.entries("clip"))
    assert set(classified) == set(cameras)
    assert max(classified.values()) <= min(classified.values()) + 3
    assert figures["vjepa_consumer_requests_in_flight"] <= 2


async def test_alert_sees_a_camera_that_is_down_and_that_it_is_back(
    aiohttp_server: StartServer, unused_tcp_port_factory: Callable[[], int]
) -> None:
    """By the metric that the alert of `deploy/` compares with 0, from the first failed connection on."""
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    (metric,) = re.fullmatch(
        r"(\w+) == 0", next(rule["expr"] for rule in rules if rule["alert"] == "VjepaCameraDown")
    ).groups()
    url = str((await aiohttp_server(RecordingService().application())).make_url("/"))
    port, camera_port = unused_tcp_port_factory(), unused_tcp_port_factory()
    source = f"rtsp://127.0.0.1:{camera_port}/camera"
    flags = ("--service-url", url, "--fps", "20", "--reconnect-max", "0.1", "--metrics-port", str(port))
    series = f'{metric}{{source="{source}"}}'
    async with consuming(source, *flags) as consumer:
        await consumer.until("source lost, connecting again")
        assert (await scraped(f"http://127.0.0.1:{port}/metrics"))[series] == 0
        with rtsp_server(port=camera_port):
            await consumer.until("source connected")
            await consumer.until("clip")
            assert (await scraped(f"http://127.0.0.1:{port}/metrics"))[series] == 1
        assert await consumer.stop() == 130


async def scraped(url: str) -> dict[str, float]:
    async with aiohttp.ClientSession() as session, session.get(url) as reply:
        lines = (await reply.text()).splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


async def test_ctrl_c_while_clips_are_dropped(aiohttp_server: StartServer) -> None:
    never = asyncio.Event()

    async def reply(received: Received) -> web.Response:
        await never.wait()
        return answer()

    url = str((await aiohttp_server(RecordingService(reply=reply).application())).make_url("/"))
    with rtsp_server() as camera:
        async with consuming(camera.url, "--service-url", url, "--fps", "20", "--in-flight", "1") as consumer:
            await consumer.until("clips dropped, the service is too slow or away")
            assert await consumer.stop() == 130
    never.set()
    # Every line of the log was JSON, so none was part of a traceback.


async def test_ctrl_c_while_connecting_to_a_camera(live_server: LiveServer) -> None:
    async with consuming("rtsp://127.0.0.1:9/nobody", "--service-url", live_server.url) as consumer:
        await consumer.until("source lost, connecting again", 2)
        assert await consumer.stop() == 130


async def test_sigterm_exits_with_code_0(live_server: LiveServer) -> None:
    with rtsp_server() as camera:
        async with consuming(camera.url, "--service-url", live_server.url, "--fps", "20") as consumer:
            await consumer.until("clip")
            assert await consumer.stop(signal.SIGTERM) == 0
    assert consumer.log[-1]["event"] == "stopped"


async def test_metrics_port_in_use_fails(tmp_path: Path, aiohttp_server: StartServer) -> None:
    taken = (await aiohttp_server(RecordingService().application())).port
    video = write_video(tmp_path / "a.mp4", at(12, 1))
    ended = await consume(video, "--metrics-port", str(taken))
    assert ended.code == 2
    assert f"cannot listen on --metrics-port {taken} of 127.0.0.1: address already in use; help: " in ended.errors[-1]


async def test_failed_file_does_not_stop_the_others(tmp_path: Path, aiohttp_server: StartServer) -> None:
    async def reply(received: Received) -> web.Response:
        if received.frames.shape[2] == 64:
            return web.json_response({"title": "Internal Server Error"}, status=500)
        return answer(clip_id=received.query["clip_id"])

    url = str((await aiohttp_server(RecordingService(reply=reply).application())).make_url("/"))
    good = write_video(tmp_path / "good.mp4", at(12, 16), rate=12)
    bad = write_video(tmp_path / "bad.mp4", at(12, 16), rate=12, size=(64, 48))
    ended = await consume(bad, good, "--service-url", url)
    assert ended.code == 1
    assert any("500 Internal Server Error" in line and str(bad) in line for line in ended.errors)
    assert any(f"done source={good} clips=6" in line for line in ended.errors)


async def test_unknown_api_key_gives_a_clear_error(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("right\n")
    video = write_video(tmp_path / "a.mp4", at(12, 16 / 3), rate=12)
    with serving(DEMO, "--api-key-file", str(keys)) as server:
        refused = await consume(video, "--service-url", server.url, environment={"VJEPA_API_KEY": "wrong"})
        taken = await consume(video, "--service-url", server.url, environment={"VJEPA_API_KEY": "right"})
    assert refused.code == 1
    assert "401 Unauthorized: the key is unknown" in refused.failures[-1]
    assert "VJEPA_API_KEY" in refused.failures[-1]
    assert taken.code == 0
