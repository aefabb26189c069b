"""Streams: the same answers as for clips, in order, with gaps, skipped windows, swaps and stops."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.storage.bundle import DEMO
from sampling.stream_times import StreamTimes
from sampling.timeline import Timed
from sampling.windows import Shape, Windows, sample
from tests.live_server import LiveServer, serving
from tests.server.demo_bundles import demo_copy
from tests.server.peers import clients, confidences, encoded, faulty, send, tell, until_metric
from tests.server.requests import encode, image_body
from tests.server.streams import (
    FPS,
    HEADER,
    MOTION,
    frame_messages,
    image,
    of_kind,
    packed,
    streaming,
    times,
    window_confidences,
)


@st.composite
def _streams(draw: st.DrawFn) -> tuple[list[float], int, tuple[int, int], str]:
    """Times of frames with jitter, gaps and steps back, the stride, the size of the frames, and how they are sent."""
    steps_s = st.sampled_from([0.08, 0.1, 0.3, 0.333, 0.333, 0.35, -0.05, -0.4, 0.0, 1.2])
    times_s = [100.0]
    for step_s in draw(st.lists(steps_s, min_size=30, max_size=70)):
        times_s.append(times_s[-1] + step_s)
    size = draw(st.sampled_from([(24, 32), (40, 30), (65, 64), (90, 200)]))
    return times_s, draw(st.integers(1, 18)), size, draw(st.sampled_from(["BGR", "RGB", ".png", ".jpg", ".webp"]))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stream=_streams(), seed=st.integers(0, 1000))
async def test_windows_are_answered_as_the_same_frames_in_a_clip(
    stream: tuple[list[float], int, tuple[int, int], str], seed: int, live_server: LiveServer
) -> None:
    times_s, stride, size, sent_as = stream
    frames = np.random.default_rng(seed).integers(0, 256, (len(times_s), *size, 3), np.uint8)
    images = encode(frames, sent_as) if sent_as.startswith(".") else []
    pixel_format = "BGR" if images else sent_as
    async with clients(live_server) as session:
        async with streaming(session, stride=stride, policy="wait", top_k=11, format=pixel_format) as client:
            await client.send(map(image, times_s, images) if images else map(packed, times_s, frames))
            answers = await client.ended()
        expected = _windows(times_s, stride)
        found = of_kind(answers, "prediction")
        assert [(one["start_s"], one["end_s"]) for one in found] == [(one.start_s, one.end_s) for one in expected]
        for one, window in list(zip(found, expected, strict=True))[:: max(1, len(expected) // 3)]:
            if images:
                body = json.dumps(image_body([images[index] for index in window.frames], top_k=11)).encode()
            else:
                body = encoded(frames[list(window.frames)], format=pixel_format, top_k=11)
            assert window_confidences(one) == confidences(await send(session, body))
    assert not of_kind(answers, "error")


def _windows(times_s: list[float], stride: int) -> list[Any]:
    """The windows by the sampling that recordings have."""
    place = StreamTimes(1 / FPS, 0.5)
    timed = []
    for index, time_s in enumerate(times_s):
        placed = place.place(time_s)
        timed.append(Timed(placed.time_s, placed.duration_s, index, placed.starts))
    return list(Windows[int](Shape(16, FPS, stride), lambda: None, fills_up=False).of(sample(timed, FPS, 1e9)))


async def test_hello_is_answered_with_what_to_send(live_server: LiveServer) -> None:
    async with clients(live_server) as session, streaming(session, name="door", stride=4) as client:
        ready = client.ready
        async with session.get("/api/v1/streams") as answer:
            (listed,) = (await answer.json())["streams"]
    assert (ready["type"], ready["name"], ready["frames"], ready["fps"], ready["stride"]) == ("ready", "door", 16, 3, 4)
    assert (ready["short_edge"], ready["crop"], ready["model"]) == (73, 64, "demo")
    assert (listed["session"], listed["name"], listed["windows"]) == (ready["session"], "door", 0)


async def test_gap_and_change_of_shape_break_the_windows(live_server: LiveServer) -> None:
    tall = np.ascontiguousarray(MOTION.transpose(0, 2, 1, 3))
    async with clients(live_server) as session, streaming(session, policy="wait") as client:
        await client.send(frame_messages(MOTION[:10]))
        await client.send(frame_messages(MOTION, first_s=60))
        await client.send(frame_messages(tall, first_s=60 + 16 / FPS))
        answers = await client.ended()
    assert [(gap["reason"], gap["after_s"]) for gap in of_kind(answers, "gap")] == [
        ("time", 60),
        ("size", pytest.approx(60 + 16 / FPS)),
    ]
    starts_s = [one["start_s"] for one in of_kind(answers, "prediction")]
    assert starts_s == [60, pytest.approx(60 + 16 / FPS)]
    assert answers[-1]["type"] == "ended"
    assert answers[-1]["gaps"] == 2


async def test_frames_that_no_tick_wants_are_not_decoded(live_server: LiveServer) -> None:
    async with clients(live_server) as session, streaming(session, policy="wait") as client:
        await client.send([packed(index / 30, MOTION[index % 16]) for index in range(160)])
        answers = await client.ended()
    assert answers[-1]["frames"] == 160
    assert answers[-1]["frames_used"] == 16


async def test_newer_window_replaces_one_that_waits_and_is_told() -> None:
    with faulty(DEMO) as server:
        async with clients(server) as session, streaming(session, stride=1) as client:
            await tell(server, "hold")
            await client.send(frame_messages(np.concatenate([MOTION] * 3)))
            skipped = [(await client.next("skipped"))["window"] for _ in range(31)]
            await tell(server, "release")
            answers = await client.ended()
    answered = [one["window"] for one in of_kind(answers, "prediction")]
    assert answered[-1] == 32
    assert sorted([*skipped, *answered]) == list(range(33))
    assert answers[-1]["skipped"] == {"overload": 31}


async def test_newer_window_that_cannot_be_decoded_is_passed_over_while_another_waits() -> None:
    images = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in np.concatenate([MOTION] * 2)]
    images[20] = images[20][: len(images[20]) * 3 // 4]
    with faulty(DEMO) as server:
        async with clients(server) as session, streaming(session) as client:
            await tell(server, "hold")
            batches = len(server.entries("in engine"))
            asked = asyncio.create_task(send(session, encoded(MOTION)))
            await asyncio.to_thread(server.wait_for, "in engine", batches + 1)
            messages = [image(time_s, data) for time_s, data in zip(times(32), images, strict=True)]
            await client.send(messages[:16])
            await until_metric(session, "vjepa_queue_clips", lambda value: value == 1)
            await client.send(messages[16:])
            skipped = await client.next("skipped")
            await tell(server, "release")
            answers = await client.ended()
            assert (await asked).status == 200
    assert (skipped["window"], skipped["reason"]) == (1, "frame")
    assert [one["window"] for one in of_kind(answers, "prediction")] == [0]


async def test_stream_that_waits_skips_nothing() -> None:
    with faulty(DEMO) as server:
        async with clients(server) as session, streaming(session, stride=1, policy="wait") as client:
            await tell(server, "hold")
            sending = asyncio.create_task(client.send(frame_messages(np.concatenate([MOTION] * 3))))
            await asyncio.to_thread(server.wait_for, "in engine")
            await tell(server, "release")
            await sending
            answers = await client.ended()
    assert [one["window"] for one in of_kind(answers, "prediction")] == list(range(33))
    assert not answers[-1]["skipped"]


async def test_time_in_which_the_service_does_not_read_counts_against_no_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The service reads no pong while the engine is busy and the stream waits."""
    heartbeat_s = 0.1
    monkeypatch.setenv("HEARTBEAT_S", str(heartbeat_s))
    with faulty(DEMO) as server:
        async with clients(server) as session, streaming(session, stride=1, policy="wait") as client:
            await tell(server, "hold")
            sending = asyncio.create_task(client.send(frame_messages(np.concatenate([MOTION] * 3))))
            await asyncio.to_thread(server.wait_for, "in engine")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.socket.receive(), 20 * heartbeat_s)
            await tell(server, "release")
            await sending
            answers = await client.ended()
    assert len(of_kind(answers, "prediction")) == 33


@pytest.mark.parametrize(
    ("message", "status", "words"),
    [
        (b"\1", 422, "its header alone has 20"),
        (HEADER.pack(2, 0, 1, 1) + b"abc", 422, "version 2; accepted: 1"),
        (HEADER.pack(1, float("nan"), 1, 1) + b"abc", 422, "the time of a frame is nan"),
        (HEADER.pack(1, 0, 2, 2) + b"abc", 422, "has 12 bytes, but 3 came"),
        (HEADER.pack(1, 0, 70000, 1) + b"abc", 422, "accepted: 1 to 16384"),
        (HEADER.pack(1, 0, 0, 0) + b"abc", 422, "must be a JPEG, PNG or WebP"),
        (HEADER.pack(1, 0, 0, 0) + b"\xff\xd8\xff\xe0", 400, "not a readable JPEG"),
    ],
)
async def test_wrong_frame_is_told_and_the_stream_continues(
    live_server: LiveServer, message: bytes, status: int, words: str
) -> None:
    async with clients(live_server) as session, streaming(session, policy="wait") as client:
        await client.send([message])
        error = await client.next("error")
        await client.send(frame_messages(MOTION))
        answers = await client.ended()
    assert error["status"] == status
    assert words in error["detail"]
    assert len(of_kind(answers, "prediction")) == 1
    assert answers[-1]["frames_refused"] == 1


async def test_engine_knows_frames_of_the_window_before() -> None:
    with faulty(DEMO) as server:
        before = len(server.entries("in engine"))
        async with clients(server) as session, streaming(session, policy="wait", stride=4) as client:
            await client.send(frame_messages(np.concatenate([MOTION, MOTION])))
            assert len(of_kind(await client.ended(), "prediction")) == 5
        assert await asyncio.to_thread(server.stop) == 0
    found = [entry["new_frames"] for entry in server.entries("in engine")[before:]]
    assert [count for count in found if count] == [16, 4, 4, 4, 4]


async def test_damaged_image_loses_the_windows_that_hold_it(live_server: LiveServer) -> None:
    images = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in np.concatenate([MOTION, MOTION])]
    images[5] = images[5][: len(images[5]) * 3 // 4]
    async with clients(live_server) as session, streaming(session, policy="wait") as client:
        await client.send([image(time_s, data) for time_s, data in zip(times(32), images, strict=True)])
        answers = await client.ended()
    (error,) = of_kind(answers, "error")
    assert (error["status"], error["time_s"]) == (400, pytest.approx(5 / FPS))
    assert [one["reason"] for one in of_kind(answers, "skipped")] == ["frame"]
    assert [one["window"] for one in of_kind(answers, "prediction")] == [1]


@pytest.mark.parametrize(
    ("hello", "words"),
    [
        ("no JSON", "the first message is no hello"),
        ('{"' + "a" * 100_000 + '": 1}', "unknown field"),
        ('{"fps": 0}', "fps"),
        ('{"top_k": 12}', "top_k is 12; accepted: 1 to 11"),
        ('{"policy": "never"}', "policy"),
        ('{"colour": 1}', "colour"),
        ('{"still": "skip", "still_threshold": 256}', "still_threshold"),
        ('{"still": "skip", "event_labels": ["Holding something", "Flying"]}', "Flying, which the model does not know"),
        (b"\0", "the first message must be a hello"),
    ],
)
async def test_wrong_hello_closes_the_stream(live_server: LiveServer, hello: str | bytes, words: str) -> None:
    async with clients(live_server) as session, session.ws_connect("/api/v1/stream") as socket:
        await (socket.send_str(hello) if isinstance(hello, str) else socket.send_bytes(hello))
        error = await socket.receive_json(timeout=30)
        assert (await socket.receive(timeout=30)).data == aiohttp.WSCloseCode.POLICY_VIOLATION
    assert (error["type"], error["status"]) == ("error", 422)
    assert words in error["detail"]
    assert len(error["detail"]) < 200


async def test_text_after_the_hello_must_be_the_end(live_server: LiveServer) -> None:
    async with clients(live_server) as session, streaming(session) as client:
        await client.socket.send_str('{"type": "pause"}')
        answers = await client.rest()
        assert client.socket.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION
    assert '"end"' in of_kind(answers, "error")[0]["detail"]


async def test_plain_request_and_foreign_page_are_refused(live_server: LiveServer) -> None:
    async with clients(live_server) as session:
        async with session.get("/api/v1/stream") as answer:
            assert answer.status == 422
        for origin, status in (("https://elsewhere.example", 403), (live_server.url, 101)):
            try:
                async with session.ws_connect("/api/v1/stream", origin=origin) as socket:
                    await socket.close()
                got = 101
            except aiohttp.WSServerHandshakeError as error:
                got = error.status
            assert got == status


async def test_key_comes_in_header_subprotocol_or_hello(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("secret\n")
    with serving(DEMO, "--api-key-file", str(tmp_path / "keys")) as server:
        async with clients(server) as session:
            async with streaming(session, key="secret") as client:
                assert client.ready["type"] == "ready"
            async with streaming(session, key="wrong") as client:
                assert (client.ready["type"], client.ready["status"]) == ("error", 401)
            async with session.ws_connect("/api/v1/stream", protocols=("vjepa2.stream.v1", "bearer.secret")) as socket:
                assert socket.protocol == "vjepa2.stream.v1"
                await socket.send_json({})
                assert (await socket.receive_json())["type"] == "ready"
            with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
                await session.ws_connect("/api/v1/stream", headers={"Authorization": "Bearer wrong"})


async def test_number_of_streams_and_size_of_messages_are_bounded() -> None:
    with serving(DEMO, "--max-streams", "1", "--max-clip-mb", "1") as server:
        async with clients(server) as session:
            async with streaming(session) as client:
                with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                    await session.ws_connect("/api/v1/stream")
                await client.socket.send_bytes(bytes(2**20))
                await client.rest()
                assert client.socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
            await until_metric(session, "vjepa_streams", lambda value: value == 0)
            async with streaming(session) as client:
                assert client.ready["type"] == "ready"
    assert not [entry for entry in server.log if entry["level"] == "ERROR"]


async def test_lost_engine_closes_with_1013() -> None:
    with faulty(DEMO) as server:
        async with clients(server) as session, streaming(session) as client:
            await tell(server, "lose device")
            await client.send(frame_messages(MOTION))
            answers = await client.rest()
            assert client.socket.close_code == aiohttp.WSCloseCode.TRY_AGAIN_LATER
        assert await asyncio.to_thread(server.wait) == 1
    assert of_kind(answers, "error")[0]["status"] == 503


async def test_swap_goes_through_between_two_windows(tmp_path: Path) -> None:
    demo_copy(tmp_path / "served", "first")
    with serving(tmp_path / "served", "--bundle-poll-s", "0") as server:
        async with clients(server) as session, streaming(session, policy="wait") as client:
            await client.send(frame_messages(MOTION))
            first = await client.next("prediction")
            await asyncio.to_thread(demo_copy, tmp_path / "served", "second")
            server.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(server.wait_for, "engine swapped")
            await client.send(frame_messages(MOTION, first_s=16 / FPS))
            ready, second = await client.next("ready"), await client.next("prediction")
            assert of_kind(await client.ended(), "ended")[0]["predictions"] == 2
    assert ready["model"] == "second"
    assert window_confidences(first) == window_confidences(second)


def test_sampled_streams_are_decided_without_delay() -> None:
    """A frame that comes at its tick, or up to 5 ms before, is a sample at once."""
    from sampling.windows import Sampler

    sampler = Sampler[int](3, 1.0)
    decided = [len(sampler.push(Timed(index / 3 - 0.004 * (index % 2), 1 / 3, index))) for index in range(40)]
    assert decided == [1] * 40
