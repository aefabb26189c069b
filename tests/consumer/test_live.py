"""Cameras that come and go, over real sockets; the consumer is a process of its own."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.consumer.processes import consuming
from tests.consumer.recording_service import FRAMES, Received, RecordingService
from tests.consumer.senders import FPS, Numbers, UdpCamera, free_port, rtsp_server, udp_camera

SAMPLED_FPS = 10
STEP = FPS // SAMPLED_FPS
QUICK = ("--fps", str(SAMPLED_FPS), "--reconnect-max", "0.5", "--silence-timeout", "3")

StartServer = Callable[..., Awaitable[TestServer]]


@pytest.fixture
async def service(request: pytest.FixtureRequest) -> RecordingService:
    """Takes clips in requests; tests that are marked with ``on_both`` are run on streams, too."""
    return RecordingService(streams=getattr(request, "param", "clips") == "stream")


on_both = pytest.mark.parametrize("service", ["clips", "stream"], indirect=True)


@pytest.fixture
async def url(service: RecordingService, aiohttp_server: StartServer) -> str:
    return str((await aiohttp_server(service.application())).make_url("/"))


def spans_a_gap(clip: Received) -> bool:
    """Whether the clip's frames are further apart than the sampling takes them; a late frame may be off by one."""
    return any(not 0 <= (after - before) % 256 <= 2 * STEP for before, after in pairwise(clip.numbers))


def assert_whole(clips: list[Received]) -> None:
    for clip in clips:
        assert len(clip.frames) == FRAMES
        assert not spans_a_gap(clip), clip.numbers


async def test_rtsp_is_sampled_by_its_time_stamps(service: RecordingService, url: str) -> None:
    with rtsp_server() as camera:
        async with consuming(camera.url, "--service-url", url, *QUICK) as consumer:
            clips = await service.clips(4)
            assert await consumer.stop() == 130
    assert_whole(clips)
    steps = [(after - before) % 256 for clip in clips for before, after in pairwise(clip.numbers)]
    assert steps.count(STEP) / len(steps) > 0.9
    # One clip goes on where the one before ended.
    for before, after in pairwise(clips):
        assert (after.numbers[0] - before.numbers[-1]) % 256 in range(1, 2 * STEP + 1)
    assert consumer.entries("source connected", source=camera.url)


@on_both
async def test_interrupted_camera_is_reconnected(service: RecordingService, url: str) -> None:
    with rtsp_server() as camera:
        async with consuming(camera.url, "--service-url", url, *QUICK) as consumer:
            for cuts in range(1, 4):
                await service.clips(2 * cuts)
                await mid_clip(camera.numbers)
                camera.cut()
                camera.numbers.jump()
                await consumer.until("source lost, connecting again", cuts)
                await consumer.until("source connected", cuts + 1)
            clips = await service.clips(8)
            await consumer.stop()
    assert_whole(clips)
    assert len(consumer.entries("partial clip dropped")) >= 3


async def test_restarted_camera_server_is_reconnected(service: RecordingService, url: str) -> None:
    with rtsp_server() as camera:
        port, numbers = camera.port, camera.numbers
        async with consuming(camera.url, "--service-url", url, *QUICK) as consumer:
            before = len(await service.clips(1))
            camera.shutdown()
            camera.server_close()
            camera.cut()
            refused = await consumer.until("source lost, connecting again", 2)
            assert "connection refused" in refused["reason"]
            with rtsp_server(port) as again:
                again.numbers = numbers
                numbers.jump()
                clips = await service.clips(before + 3)
                await consumer.stop()
    assert_whole(clips)


async def test_silent_camera_is_reconnected(service: RecordingService, url: str) -> None:
    with rtsp_server() as camera:
        async with consuming(camera.url, "--service-url", url, *QUICK, "--silence-timeout", "1") as consumer:
            seen = len(await service.clips(1))
            camera.silent.set()
            lost = await consumer.until("source lost, connecting again")
            assert "sent no frame for 1 s" in lost["reason"]
            camera.silent.clear()
            camera.numbers.jump()
            await consumer.until("source connected", 2)
            clips = await service.clips(seen + 2)
            await consumer.stop()
    assert_whole(clips)


async def mid_clip(numbers: Numbers) -> None:
    """Return when half of another clip has been sent."""
    await asyncio.to_thread(numbers.wait_for_more, FRAMES * STEP // 2)


async def receive_udp(source: str, camera: UdpCamera, service: RecordingService, url: str) -> None:
    """The receiver is there first; the sender comes, goes mid-clip, and comes back elsewhere in the scene."""
    async with consuming(source, "--service-url", url, *QUICK, "--silence-timeout", "8") as consumer:
        camera.on()
        seen = len(await service.clips(2))
        await mid_clip(camera.numbers)
        await asyncio.to_thread(camera.off)
        camera.numbers.jump()
        # Longer than anybody could take for jitter, shorter than the watchdog waits: the connection stays.
        await asyncio.sleep(1.5)
        camera.on()
        clips = await service.clips(seen + 3)
        assert await consumer.stop(signal.SIGTERM) == 0
    assert_whole(clips)
    assert consumer.entries("partial clip dropped")


async def test_mpegts_over_udp_sender_restart(service: RecordingService, url: str) -> None:
    address = f"udp://127.0.0.1:{free_port()}"
    with udp_camera(f"{address}?pkt_size=1316", "mpegts") as camera:
        await receive_udp(address, camera, service, url)


async def test_rtp_over_udp_sender_restart(service: RecordingService, url: str) -> None:
    port = free_port()
    with udp_camera(f"rtp://127.0.0.1:{port}", "rtp") as camera:
        await receive_udp(f"udp://127.0.0.1:{port}?codec=h264", camera, service, url)


async def test_rtp_with_sdp_file(service: RecordingService, url: str, tmp_path: Path) -> None:
    port = free_port()
    lines = ("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0", f"m=video {port} RTP/AVP 96",
             "a=rtpmap:96 H264/90000")  # fmt: skip
    description = tmp_path / "camera.sdp"
    description.write_text("\n".join(lines) + "\n")
    with udp_camera(f"rtp://127.0.0.1:{port}", "rtp") as camera:
        async with consuming(description, "--service-url", url, *QUICK) as consumer:
            camera.on()
            clips = await service.clips(2)
            await consumer.stop()
    assert_whole(clips)


async def test_unreachable_cameras_do_not_delay_others(service: RecordingService, url: str) -> None:
    # The discard port: nobody listens there.
    nobody = "rtsp://user:secret@127.0.0.1:9/nothing"
    with socket.create_server(("127.0.0.1", 0)) as mute, rtsp_server() as camera:
        dead = f"rtsp://127.0.0.1:{mute.getsockname()[1]}/nothing"
        arguments = (dead, nobody, camera.url, "--service-url", url, *QUICK, "--silence-timeout", "1")
        async with consuming(*arguments) as consumer:
            await consumer.until("source lost, connecting again", 2, source=dead)
            clips = await service.clips(6)
            await consumer.stop()
    assert_whole(clips)
    assert not any("secret" in str(entry) for entry in consumer.log)
    assert not consumer.entries("source lost, connecting again", source=camera.url)


@on_both
async def test_clip_stride_gives_overlapping_clips(service: RecordingService, url: str) -> None:
    with rtsp_server() as camera:
        async with consuming(
            camera.url, "--service-url", url, *QUICK, "--clip-stride", "2", "--queue", "50"
        ) as consumer:
            # Several are on their way at once; each carries when it began.
            clips = sorted(await service.clips(8), key=lambda clip: clip.numbers[0])[:5]
            await consumer.stop()
    assert_whole(clips)
    for before, after in pairwise(clips):
        assert after.numbers[:-2] == before.numbers[2:]


@on_both
async def test_changed_model_changes_the_clips(service: RecordingService, url: str) -> None:
    async def reply(clip: Received) -> web.StreamResponse:
        wanted = service.model["frames"]
        if len(clip.frames) == wanted:
            return web.json_response(
                {"predictions": [{"label": "a", "confidence": 1}], "clip_id": "1", "model": "m", "timings_ms": {}}
            )
        problem = {"title": "Unprocessable Entity", "detail": f"{wanted} frames wanted", "field": "frames"}
        return web.json_response(problem, status=422)

    service.reply = reply
    with rtsp_server() as camera:
        async with consuming(camera.url, "--service-url", url, *QUICK) as consumer:
            await consumer.until("clip")
            service.model = {"name": "n", "frames": 4, "crop": 224}
            await consumer.until("the service has another model now")
            classified = len(consumer.entries("clip"))
            await consumer.until("clip", classified + 2)
            await consumer.stop()
    assert len(service.received[-1].frames) == 4
