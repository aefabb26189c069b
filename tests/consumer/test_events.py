from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from consumer.client.answer import Prediction
from consumer.output.classified_clip import ClassifiedClip
from consumer.output.event_sinks import check_target
from consumer.output.events import ActionDetector, ActionEvent, Rules
from tests.consumer.processes import consume, consuming
from tests.consumer.recording_service import Received, RecordingService, answer
from tests.consumer.senders import rtsp_server
from tests.consumer.videos import at, write_video

aiomqtt = pytest.importorskip("aiomqtt")
amqtt_broker = pytest.importorskip("amqtt.broker")

StartServer = Callable[[web.Application], Awaitable[TestServer]]


def clip(number: int, **confidences: float) -> ClassifiedClip:
    predictions = tuple(Prediction(label, confidence) for label, confidence in confidences.items())
    return ClassifiedClip("camera", number, number + 1, predictions, f"clip {number}", "m", {}, 1.0)


def detect(rules: Rules, confidences: list[dict[str, float]]) -> list[ActionEvent]:
    detector = ActionDetector("camera", rules)
    events = [event for number, each in enumerate(confidences) for event in detector.update(clip(number, **each))]
    return events + detector.end_all()


def short(events: list[ActionEvent]) -> list[tuple[str, str, float, float]]:
    return [(event.event, event.label, event.start_s, event.end_s) for event in events]


def test_an_action_starts_and_ends_once() -> None:
    confidences = [{"a": 0.1}, {"a": 0.6}, {"a": 0.9}, {"a": 0.2}, {"a": 0.7}, {"a": 0.1}, {"a": 0.4}, {"a": 0.1}]
    start, end = detect(Rules(threshold=0.5, clips=2), confidences)
    assert short([start, end]) == [("start", "a", 1, 3), ("end", "a", 1, 5)]
    assert start.action_id == end.action_id
    assert (start.confidence, start.clip_id, end.clip_id) == (0.9, "clip 2", "clip 4")


def test_single_clip_is_not_an_action() -> None:
    assert detect(Rules(0.5, clips=2), [{"a": 0.9}, {"a": 0.1}, {"a": 0.9}, {"b": 0.9}, {"a": 0.9}]) == []


def test_end_all_ends_current_actions() -> None:
    assert short(detect(Rules(0.5, clips=1), [{"a": 0.9}, {"a": 0.9}])) == [("start", "a", 0, 1), ("end", "a", 0, 2)]


def test_two_actions_overlap() -> None:
    both = {"a": 0.5, "b": 0.5}
    assert short(detect(Rules(0.4, clips=1), [{"a": 0.9}, both, {"b": 0.9}])) == [
        ("start", "a", 0, 1), ("start", "b", 1, 2), ("end", "a", 0, 2), ("end", "b", 1, 3),
    ]  # fmt: skip


def test_only_chosen_labels_are_reported() -> None:
    events = detect(Rules(0.5, clips=1, labels=("b",)), [{"a": 0.9, "b": 0.1}, {"a": 0.1, "b": 0.9}])
    assert {event.label for event in events} == {"b"}


@given(
    confidences=st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(0, 1), max_size=3), max_size=60),
    clips=st.integers(1, 4),
)
def test_starts_and_ends_alternate_for_each_label(confidences: list[dict[str, float]], clips: int) -> None:
    events = detect(Rules(0.5, clips), confidences)
    for label in "abc":
        of_label = [event for event in events if event.label == label]
        assert [event.event for event in of_label] == ["start", "end"] * (len(of_label) // 2)
        for start, end in zip(of_label[::2], of_label[1::2], strict=True):
            assert start.action_id == end.action_id
            shown = [c.get(label, 0) >= 0.5 for c in confidences]
            assert all(shown[int(start.start_s) : int(start.start_s) + clips])
            assert shown[int(end.end_s) - 1]


@pytest.mark.parametrize("target", ["stdout", "http://a/b", "https://u:p@a:1/b?c=d", "mqtt://a/t", "mqtts://a:1/t/u"])
def test_valid_targets_are_accepted(target: str) -> None:
    assert check_target(target) == target


# What the service sees in a video of five clips: "a" in the second and third.
SEEN = ["x", "a", "a", "x", "x"]
EVENTS = [("start", "a"), ("end", "a")]
RULES = ("--event-clips", "1", "--event-label", "a", "--in-flight", "1")


@pytest.fixture
async def service_url(aiohttp_server: StartServer) -> str:
    service = RecordingService()

    async def reply(received: Received) -> web.Response:
        return answer(SEEN[(len(service.received) - 1) % len(SEEN)], 0.8, received.query["clip_id"])

    service.reply = reply
    return str((await aiohttp_server(service.application())).make_url("/"))


def five_clips(directory: Path) -> Path:
    return write_video(directory / "a.mp4", at(12, 5 * 8 / 3), rate=12)


def told(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["event"], event["label"]) for event in events]


async def test_events_are_lines_of_json_on_stdout(service_url: str, tmp_path: Path) -> None:
    video = five_clips(tmp_path)
    ended = await consume(video, "--service-url", service_url, "--events", "stdout", *RULES)
    assert ended.code == 0, ended.errors
    start, end = map(json.loads, ended.output)
    assert told([start, end]) == EVENTS
    assert start["source"] == str(video)
    assert start["action_id"] == end["action_id"]
    assert (start["start_s"], end["end_s"]) == (pytest.approx(8 / 3, abs=0.01), pytest.approx(8, abs=0.01))


async def test_webhook_receives_each_event_after_a_failure(
    service_url: str, tmp_path: Path, aiohttp_server: StartServer
) -> None:
    asked: list[dict[str, Any]] = []

    async def hook(request: web.Request) -> web.Response:
        asked.append(await request.json())
        return web.Response(status=503 if len(asked) == 1 else 204)

    app = web.Application()
    app.router.add_post("/hook", hook)
    url = str((await aiohttp_server(app)).make_url("/hook"))
    ended = await consume(five_clips(tmp_path), "--service-url", service_url, "--events", url, *RULES)
    assert ended.code == 0
    assert told(asked) == [EVENTS[0], *EVENTS]
    assert any("event not delivered, trying again" in line for line in ended.errors)


async def test_webhook_refusal_loses_only_that_event(
    service_url: str, tmp_path: Path, aiohttp_server: StartServer
) -> None:
    url = str((await aiohttp_server(web.Application())).make_url("/hook"))
    ended = await consume(five_clips(tmp_path), "--service-url", service_url, "--events", url, *RULES)
    assert ended.code == 0
    assert sum("event lost" in line and "answered 404" in line for line in ended.errors) == 2
    assert any("clips=5" in line for line in ended.errors)


@asynccontextmanager
async def broker(port: int) -> AsyncIterator[None]:
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    running = amqtt_broker.Broker(config)
    await running.start()
    try:
        yield
    finally:
        await running.shutdown()


async def test_mqtt_events_reach_a_broker_that_starts_later(
    service_url: str, tmp_path: Path, unused_tcp_port: int
) -> None:
    target = f"mqtt://127.0.0.1:{unused_tcp_port}/cameras/door"
    with rtsp_server() as camera:
        arguments = (camera.url, "--service-url", service_url, "--events", target, "--fps", "10", *RULES)
        async with consuming(*arguments) as consumer:
            await consumer.until("event not delivered, trying again")
            async with broker(unused_tcp_port), aiomqtt.Client("127.0.0.1", unused_tcp_port) as subscriber:
                await subscriber.subscribe("cameras/#", qos=1)
                events = []
                async with asyncio.timeout(60):
                    async for message in subscriber.messages:
                        assert str(message.topic) == "cameras/door"
                        events.append(json.loads(message.payload))
                        if len(events) == 4:
                            break
                assert await consumer.stop() == 130
    assert told(events) == EVENTS * 2


async def test_silent_camera_ends_its_actions(aiohttp_server: StartServer) -> None:
    service = RecordingService(reply=lambda received: asyncio.sleep(0, answer("a", 0.9)))
    url = str((await aiohttp_server(service.application())).make_url("/"))
    with rtsp_server() as camera:
        arguments = (camera.url, "--service-url", url, "--events", "stdout", "--fps", "10", "--event-timeout", "2")
        async with consuming(*arguments) as consumer:
            await consumer.until("action start")
            camera.silent.set()
            assert told(await consumer.until_output(2)) == EVENTS
            await consumer.stop()


async def test_ctrl_c_ends_current_actions(aiohttp_server: StartServer) -> None:
    service = RecordingService(reply=lambda received: asyncio.sleep(0, answer("a", 0.9)))
    url = str((await aiohttp_server(service.application())).make_url("/"))
    with rtsp_server() as camera:
        async with consuming(camera.url, "--service-url", url, "--events", "stdout", "--fps", "10") as consumer:
            await consumer.until_output(1)
            assert await consumer.stop() == 130
    assert told(consumer.output) == EVENTS
