"""One odd answer is the trouble of its clip alone: the command goes on with all its cameras."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.consumer.processes import consume, consuming
from tests.consumer.recording_service import Received, RecordingService, answer
from tests.consumer.senders import rtsp_server
from tests.consumer.videos import at, write_video

StartServer = Callable[..., Awaitable[TestServer]]

MIB = 2**20
WRONG = '{"predictions": [{"label": 5, "confidence": "high"}], "clip_id": 1, "model": null, "timings_ms": []}'
ODD: list[tuple[int, bytes, dict[str, str]]] = [
    (500, '{"title": "Ger\u00e4t"}'.encode("latin-1"), {}),
    (422, b'{"title": ' + b"[" * 100_000, {}),
    (400, b'["an", "array"]', {}),
    (503, b"{}", {"Retry-After": f"Wed, 21 Oct {10**22} 07:28:00 GMT"}),
    (503, b"{}", {"Retry-After": "9" * 400}),
    (429, b"{}", {"Retry-After": "-1"}),
    (301, b"", {"Location": "/health/ready"}),
    (200, b"{}", {}),
    (200, b"5", {}),
    (200, WRONG.encode(), {}),
    (200, '{"model": "\u00e4"}'.encode("latin-1"), {}),
    (200, b"[" * 100_000, {}),
    (200, b" " * (5 * MIB), {}),
    (999, b"", {}),
]


async def test_odd_answers_to_one_camera_end_no_camera(aiohttp_server: StartServer) -> None:
    service, odd = RecordingService(), iter(ODD)

    async def reply(received: Received) -> web.Response:
        if received.frames.shape[2] != 64:
            return answer()
        status, body, headers = next(odd, (0, b"", {}))
        return web.Response(status=status, body=body, headers=headers) if status else answer()

    service.reply = reply
    url = str((await aiohttp_server(service.application())).make_url("/"))
    flags = ("--service-url", url, "--fps", "20", "--clip-stride", "4", "--retries", "0")
    with rtsp_server() as good, rtsp_server(size=(64, 48)) as bad:
        async with consuming(good.url, bad.url, *flags) as consumer:
            await consumer.until("clip", 2, source=bad.url)
            await consumer.until("clip", len(consumer.entries("clip", source=good.url)) + 2, source=good.url)
            assert await consumer.stop() == 130
    assert next(odd, None) is None
    failed = [entry for entry in consumer.log if entry["level"] == "ERROR"]
    assert len(failed) == len(ODD)
    assert {entry["source"] for entry in failed} == {bad.url}


async def test_readiness_answered_by_something_else_does_not_end_a_camera(aiohttp_server: StartServer) -> None:
    """During a restart, a proxy may answer the probe with any status."""
    service, others = RecordingService(), [404, 301, 500]

    async def reply(received: Received) -> web.Response:
        service.ready = probe if others else RecordingService.ready
        return web.json_response({}, status=503) if others else answer()

    def probe() -> web.Response:
        if not others:
            return web.json_response({})
        return web.json_response({}, status=others.pop(0), headers={"Location": "/"})

    service.reply = reply
    url = str((await aiohttp_server(service.application())).make_url("/"))
    with rtsp_server() as camera:
        async with consuming(camera.url, "--service-url", url, "--fps", "20") as consumer:
            await consumer.until("service lost")
            await consumer.until("clip")
            assert await consumer.stop() == 130


async def test_model_without_frames_is_not_believed(aiohttp_server: StartServer, tmp_path: Path) -> None:
    service = RecordingService(
        reply=lambda received: asyncio.sleep(0, answer()), model={"name": "m", "frames": 0, "crop": 224}
    )
    url = str((await aiohttp_server(service.application())).make_url("/"))
    ended = await consume(write_video(tmp_path / "a.mp4", at(12, 16 / 3), rate=12), "--service-url", url)
    assert ended.code == 0, ended.errors
    assert [len(clip.frames) for clip in service.received] == [16]
    assert any("does not describe its model in a usable way" in line for line in ended.errors)
