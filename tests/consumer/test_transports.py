"""Streams and requests carry the same clips: each frame once on a stream, and the same answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image

from export.demo.show import SAMPLE
from tests.consumer.peers import LiveServer
from tests.consumer.processes import Ended, consume
from tests.consumer.recording_service import Received, RecordingService, answer
from tests.consumer.videos import at, write_video

StartServer = Callable[..., Awaitable[TestServer]]


async def started(service: RecordingService, aiohttp_server: StartServer) -> str:
    return str((await aiohttp_server(service.application())).make_url("/"))


def told(ended: Ended, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    assert ended.code == 0, ended.errors
    return [{name: line[name] for name in fields if name in line} for line in map(json.loads, ended.output)]


async def test_same_file_gives_the_same_windows_and_events_on_both(live_server: LiveServer) -> None:
    flags = ("--service-url", live_server.url, "--clip-stride", "3", "--json", "--events", "stdout")
    quick = ("--fps", "6", "--event-threshold", "0.3", "--event-clips", "1")
    both = [await consume(SAMPLE, *flags, *quick, "--transport", kind) for kind in ("stream", "clips")]
    fields = ("start_s", "end_s", "predictions", "event", "label", "confidence", "model")
    stream, clips = (told(ended, fields) for ended in both)
    assert len(stream) > 5
    assert any("event" in line for line in stream)
    assert stream == clips
    assert any(" transport transport=stream reason=" in line for line in both[0].errors)
    assert any("stream ended" in line for line in both[0].errors)


@pytest.mark.parametrize("streams", [False, True])
async def test_transport_is_what_the_service_has(aiohttp_server: StartServer, tmp_path: Path, streams: bool) -> None:
    service = RecordingService(streams=streams)
    video = write_video(tmp_path / "a.mp4", at(12, 4), rate=12)
    ended = await consume(video, "--service-url", await started(service, aiohttp_server), "--clip-stride", "2")
    assert ended.code == 0
    # Twelve sampled frames; windows of eight of them begin at every second one.
    assert len(service.received) == 3
    assert sum(peer.frames for peer in service.peers) == (12 if streams else 0)
    assert any(f"transport={'stream' if streams else 'clips'}" in line for line in ended.errors)


async def test_recording_is_covered_to_its_last_frame(aiohttp_server: StartServer, tmp_path: Path) -> None:
    service = RecordingService(streams=True)
    # 21 sampled frames, of which the second clip leaves five, and a video shorter than a clip.
    videos = [write_video(tmp_path / f"{name}.mp4", at(3, seconds), rate=3) for name, seconds in (("a", 7), ("b", 1))]
    ended = await consume(*videos, "--service-url", await started(service, aiohttp_server))
    assert ended.code == 0
    numbers = sorted(clip.numbers for clip in service.received)
    assert (len(numbers[0]), set(numbers[0])) == (8, {0, 1, 2})
    assert numbers[1:] == [list(range(8)), list(range(8, 16)), list(range(13, 21))]


async def test_clip_of_a_replaced_model_is_sent_again(aiohttp_server: StartServer, tmp_path: Path) -> None:
    asked: list[list[int]] = []

    async def reply(clip: Received) -> web.Response:
        asked.append(clip.numbers)
        return web.json_response({"skipped": "model"}) if len(asked) == 2 else answer(clip_id="a")

    service = RecordingService(reply=reply, streams=True)
    video = write_video(tmp_path / "a.mp4", at(3, 8), rate=3)
    ended = await consume(video, "--service-url", await started(service, aiohttp_server), "--json")
    assert [line["start_s"] for line in told(ended, ("start_s",))] == pytest.approx([0, 8 / 3, 16 / 3], abs=0.01)
    assert asked.count(list(range(8, 16))) == 2


async def test_lost_stream_is_opened_again_and_loses_no_clip(aiohttp_server: StartServer, tmp_path: Path) -> None:
    service = RecordingService(streams=True)

    async def reply(clip: Received) -> web.Response:
        if len(service.received) == 2:
            await asyncio.gather(*(peer.socket.close(code=1013) for peer in service.peers))
        return answer()

    service.reply = reply
    video = write_video(tmp_path / "a.mp4", at(3, 12), rate=3)
    ended = await consume(
        video, "--service-url", await started(service, aiohttp_server), "--clip-stride", "4", "--json"
    )
    starts_s = [line["start_s"] for line in told(ended, ("start_s",))]
    assert starts_s == pytest.approx([4 / 3 * index for index in range(8)], abs=0.01)
    # The connection may be gone before the code of its close is read.
    assert any("closed the stream (" in line for line in ended.errors), "\n".join(ended.errors)


async def test_failed_window_is_the_one_that_the_service_names(aiohttp_server: StartServer, tmp_path: Path) -> None:
    service = RecordingService(streams=True)

    async def reply(clip: Received) -> web.Response:
        if clip.numbers[0] == 8:
            return web.json_response({"title": "wrong"}, status=422)
        await asyncio.sleep(0)  # the frames of the second window come meanwhile
        second_failed = any(one.numbers[0] == 8 for one in service.received)
        return answer() if second_failed else web.json_response({"later": True})

    service.reply = reply
    video = write_video(tmp_path / "a.mp4", at(3, 16 / 3), rate=3)
    ended = await consume(video, "--service-url", await started(service, aiohttp_server), "--json")
    assert [json.loads(line)["start_s"] for line in ended.output] == [0]


async def test_still_clips_are_counted_and_end_actions(aiohttp_server: StartServer, tmp_path: Path) -> None:
    service = RecordingService(streams=True)

    async def reply(clip: Received) -> web.Response:
        return answer() if len(service.received) < 3 else web.json_response({"skipped": "still"})

    service.reply = reply
    video = write_video(tmp_path / "a.mp4", at(3, 16), rate=3)
    still = ("--still", "skip", "--still-check", "0.1", "--still-threshold", "6", "--weight", "2.5")
    flags = (*still, "--events", "stdout", "--event-clips", "1")
    ended = await consume(video, "--service-url", await started(service, aiohttp_server), *flags)
    hello = service.peers[0].hello
    assert (hello["still"], hello["still_check"], hello["event_threshold"]) == ("skip", 0.1, 0.5)
    assert (hello["still_threshold"], hello["weight"]) == (6, 2.5)
    assert [line["event"] for line in told(ended, ("event",))] == ["start", "end"]
    assert " still=4 clips=2 " in ended.errors[-1]


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--transport", "stream"), 2, "has no streams; help: use --transport clips"),
        (("--still", "skip"), 2, "has no streams; help: use --transport clips"),
        (("--still", "skip", "--transport", "clips"), 2, "--still skip needs --transport stream"),
        (("--transport", "stream", "--encoding", "json"), 2, "--transport stream needs --encoding raw or jpeg"),
    ],
)
async def test_streams_that_cannot_be_had_are_refused(
    aiohttp_server: StartServer, tmp_path: Path, flags: tuple[str, ...], code: int, words: str
) -> None:
    video = write_video(tmp_path / "a.mp4", at(3, 1), rate=3)
    ended = await consume(video, "--service-url", await started(RecordingService(), aiohttp_server), *flags)
    assert ended.code == code
    assert any(words in line for line in ended.errors)


async def test_real_service_leaves_out_still_clips_and_estimates_what_was_missed(
    live_server: LiveServer, tmp_path: Path
) -> None:
    (tmp_path / "frames").mkdir()
    picture = Image.fromarray(np.add.outer(np.arange(96), np.arange(128)).astype(np.uint8)).convert("RGB")
    for index in range(48):
        picture.save(tmp_path / f"frames/{index}.png")
    flags = ("--service-url", live_server.url, "--clip-stride", "4", "--still", "skip")
    ended = await consume(tmp_path / "frames", *flags, "--still-check", "0")
    checked = await consume(tmp_path / "frames", *flags, "--still-check", "1")
    assert (ended.code, checked.code) == (0, 0)
    assert " still=9 clips=0 " in ended.errors[-1]
    assert " clips=9 " in checked.errors[-1]
    assert any(" skipped_still=9 still_checked=0 " in line for line in ended.errors)
    assert any(" still_checked=9 " in line for line in checked.errors)
