"""The typed clients' streams: frames in, typed answers out."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import numpy as np
import pytest
import simplejpeg
from aiohttp import web
from aiohttp.test_utils import TestServer

from consumer.client import (
    AsyncClient,
    Client,
    ServiceRefusedError,
    ServiceUnreachableError,
    StreamAnswer,
    StreamClosedError,
    StreamEnded,
    StreamGap,
    StreamOptions,
    StreamProblem,
    StreamReady,
    WindowPrediction,
)
from consumer.errors import ClipError, ServiceAnswerError
from export.demo.rendering.clips import render_clip
from tests.consumer.peers import LiveServer
from tests.consumer.processes import UNREACHABLE_URL
from tests.consumer.recording_service import RecordingService

StartServer = Callable[..., Awaitable[TestServer]]

FRAMES = np.concatenate([render_clip(51, size=(48, 64)).frames] * 2)
WAIT = StreamOptions(name="door", stride=4, policy="wait", top_k=3)


def timed(first_s: float = 0.0) -> Iterator[tuple[float, np.ndarray]]:
    return ((first_s + index / 3, frame) for index, frame in enumerate(FRAMES))


async def _all(answers: AsyncIterator[StreamAnswer]) -> list[StreamAnswer]:
    return [answer async for answer in answers]


async def slowly() -> AsyncIterator[tuple[float, np.ndarray]]:
    for each in timed():
        await asyncio.sleep(0)
        yield each


@pytest.mark.parametrize("frames", [timed, slowly])
async def test_windows_are_answered_as_clips_are(live_server: LiveServer, frames: type) -> None:
    async with AsyncClient(live_server.url) as client:
        answers = await _all(client.stream(frames(), WAIT))
        expected = await client.classify(FRAMES[4:20], top_k=3)
    assert isinstance(answers[0], StreamReady)
    assert (answers[0].frames, answers[0].stride, answers[0].model) == (16, 4, "demo")
    predictions = [answer for answer in answers if isinstance(answer, WindowPrediction)]
    assert [(one.window, one.start_s) for one in predictions] == [(n, pytest.approx(4 / 3 * n)) for n in range(5)]
    assert predictions[1].predictions == expected.predictions
    assert isinstance(answers[-1], StreamEnded)
    assert (answers[-1].frames, answers[-1].predictions) == (32, 5)


def test_sync_client_takes_images_and_tells_gaps_and_wrong_frames(live_server: LiveServer) -> None:
    images = [simplejpeg.encode_jpeg(frame, 90, "RGB") for frame in FRAMES]
    frames = [(index / 3, image) for index, image in enumerate(images)]
    later = [(60 + time_s, image) for time_s, image in frames]
    with Client(live_server.url) as client:
        answers = list(client.stream([*frames, (50.0, b"no image"), *later], WAIT))
    assert [answer.window for answer in answers if isinstance(answer, WindowPrediction)] == list(range(10))
    (gap,) = [answer for answer in answers if isinstance(answer, StreamGap)]
    assert (gap.after_s, gap.reason) == (60, "time")
    (problem,) = [answer for answer in answers if isinstance(answer, StreamProblem)]
    assert (problem.status, problem.time_s) == (422, 50)


def test_sync_client_may_leave_a_stream_early(live_server: LiveServer) -> None:
    taken = threading.Semaphore(0)

    def endless() -> Iterator[tuple[float, np.ndarray]]:
        for index in itertools.count():
            taken.release()
            yield index / 3, FRAMES[index % 16]

    with Client(live_server.url) as client:
        for answer in client.stream(endless(), WAIT):
            if isinstance(answer, WindowPrediction):
                break
    assert taken.acquire(timeout=0)


async def test_policy_wait_makes_the_frames_wait(aiohttp_server: StartServer) -> None:
    async def unread(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=0.1, max_msg_size=0)
        await socket.prepare(request)
        await socket.receive()
        ready = {"session": "s", "model": "m", "frames": 16, "fps": 3, "stride": 4, "short_edge": 1}
        await socket.send_json({"type": "ready", "max_frame_bytes": 1} | ready)
        # However long this is: what the sockets hold is far less than all frames.
        await asyncio.sleep(0.5)
        await socket.close(code=1013)
        return socket

    taken: list[int] = []

    def frames() -> Iterator[tuple[float, bytes]]:
        for index in range(1000):
            taken.append(index)
            yield float(index), bytes(2**20)

    app = web.Application()
    app.router.add_get("/api/v1/stream", unread)
    async with AsyncClient(str((await aiohttp_server(app)).make_url("/"))) as client:
        with pytest.raises(StreamClosedError):
            await _all(client.stream(frames(), StreamOptions(policy="wait")))
    assert len(taken) < 100


@pytest.mark.parametrize(
    ("options", "words"),
    [(StreamOptions(stride=0), "stride"), (StreamOptions(top_k=12), "top_k is 12"), (StreamOptions(fps=0), "fps")],
)
async def test_wrong_options_are_refused(live_server: LiveServer, options: StreamOptions, words: str) -> None:
    async with AsyncClient(live_server.url) as client:
        with pytest.raises(ServiceRefusedError, match=words) as raised:
            await anext(client.stream(timed(), options))
    assert raised.value.status == 422


async def test_failure_of_the_frames_is_raised(live_server: LiveServer) -> None:
    def failing() -> Iterator[tuple[float, np.ndarray]]:
        yield 0.0, FRAMES[0]
        raise RuntimeError("the camera is gone")

    async with AsyncClient(live_server.url) as client:
        with pytest.raises(RuntimeError, match="the camera is gone"):
            await _all(client.stream(failing(), WAIT))
        with pytest.raises(ClipError, match="frame 0 is float64"):
            await _all(client.stream([(0.0, np.zeros((2, 2, 3)))], WAIT))  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("code", "kind", "retriable"),
    [(1001, StreamClosedError, True), (1013, StreamClosedError, True), (1009, ServiceRefusedError, False)],
)
async def test_close_of_the_service_is_a_clear_error(
    aiohttp_server: StartServer, code: int, kind: type[StreamClosedError], retriable: bool
) -> None:
    service = RecordingService(streams=True)

    async def reply(_: object) -> web.Response:
        await service.peers[0].socket.close(code=code, message=b"because")
        raise AssertionError("closed")

    service.reply = reply
    server: TestServer = await aiohttp_server(service.application())
    async with AsyncClient(str(server.make_url("/"))) as client:
        with pytest.raises(kind, match="because") as raised:
            await _all(client.stream(timed(), StreamOptions(fps=3, stride=8, policy="wait")))
    assert raised.value.retriable == retriable


async def test_service_without_streams_or_with_nonsense_is_told(aiohttp_server: StartServer) -> None:
    async def nonsense(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(timeout=0.1)
        await socket.prepare(request)
        await socket.send_json({"type": "surprise"})
        await socket.receive()
        return socket

    app = web.Application()
    app.router.add_get("/odd/api/v1/stream", nonsense)
    server: TestServer = await aiohttp_server(app)
    async with AsyncClient(str(server.make_url("/"))) as client:
        assert not await client.has_streams()
        with pytest.raises(ServiceRefusedError, match="404 Not Found"):
            await anext(client.stream(timed()))
    async with AsyncClient(str(server.make_url("/odd"))) as client:
        with pytest.raises(ServiceAnswerError, match="surprise"):
            await anext(client.stream(timed()))
    async with AsyncClient(UNREACHABLE_URL) as client:
        with pytest.raises(ServiceUnreachableError, match="connection refused"):
            await anext(client.stream(timed()))
