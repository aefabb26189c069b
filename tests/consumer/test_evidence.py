"""One recording of each action: the camera's own video at full size, kept by age and size."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import av
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from consumer.output.retention import Retention
from consumer.sources.footage import Footage
from tests.consumer.processes import consume, consuming
from tests.consumer.recording_service import Received, RecordingService, answer
from tests.consumer.senders import FPS, free_port, rtsp_server, udp_camera
from tests.consumer.videos import at, number_of, write_video

StartServer = Callable[[web.Application], Awaitable[TestServer]]
SIZE = (640, 480)


def showing_an_action(*clips: int) -> RecordingService:
    """A service that finds an action in the clips of these numbers, in the order of their arrival."""
    service = RecordingService()

    async def reply(received: Received) -> web.StreamResponse:
        return answer("a", 0.9 if len(service.received) - 1 in clips else 0.1, received.query["clip_id"])

    service.reply = reply
    return service


async def url_of(service: RecordingService, aiohttp_server: StartServer) -> str:
    return str((await aiohttp_server(service.application())).make_url("/"))


def recorded(path: Path) -> tuple[list[int], tuple[int, int], float]:
    """The numbers of the frames of a file, their size, and its length in seconds."""
    with av.open(path) as container:
        frames = list(container.decode(video=0))
        length_s = (container.duration or 0) / av.time_base
    return (
        [number_of(each.to_ndarray(format="rgb24")) for each in frames],
        (frames[0].width, frames[0].height),
        length_s,
    )


@pytest.mark.parametrize("kind", ["rtsp", "mpegts"])
async def test_an_action_of_a_camera_gives_one_recording_at_full_size(
    aiohttp_server: StartServer, tmp_path: Path, kind: str
) -> None:
    service = showing_an_action(*range(12, 20))
    url, directory = await url_of(service, aiohttp_server), tmp_path / "evidence"
    # Twenty samples a second, clips of 0.4 s that overlap by half: eight of them show the action.
    flags = ("--fps", FPS, "--clip-stride", "4", "--in-flight", "1", "--event-clips", "2", "--evidence", directory)
    seconds = ("--evidence-before", "1", "--evidence-after", "1")
    port = free_port()
    address = f"udp://127.0.0.1:{port}?pkt_size=1316"
    with rtsp_server(size=SIZE) as camera, udp_camera(address, "mpegts") as other:
        if kind == "mpegts":
            other.on()
        source = camera.url if kind == "rtsp" else f"udp://127.0.0.1:{port}"
        async with consuming(source, "--service-url", url, *map(str, (*flags, *seconds))) as consumer:
            saved = await consumer.until("evidence saved")
            assert len(consumer.entries("action start")) == 1
            await consumer.stop()
    (path,) = directory.iterdir()
    assert str(path) == saved["path"]
    numbers, size, _ = recorded(path)
    assert size == (SIZE if kind == "rtsp" else (128, 96))
    assert all((after - before) % 256 == 1 for before, after in pairwise(numbers))
    first, last = service.received[12].numbers[0], service.received[19].numbers[-1]
    # A second before the action and up to half a second more, to a key frame; two frames of tolerance for the clock.
    assert FPS - 2 <= numbers.index(first) <= FPS + FPS // 2 + 2
    assert FPS - 3 <= len(numbers) - numbers.index(last) <= FPS + 3


async def test_an_action_of_a_file_gives_one_recording(aiohttp_server: StartServer, tmp_path: Path) -> None:
    url = await url_of(showing_an_action(4, 5, 6), aiohttp_server)
    video = write_video(tmp_path / "a.mkv", at(12, 20), codec="ffv1", size=SIZE, rate=12)
    flags = ("--clip-stride", "4", "--in-flight", "1", "--evidence", tmp_path / "e", "--evidence-before", "2")
    ended = await consume(video, "--service-url", url, *flags, "--evidence-after", "1")
    assert ended.code == 0
    (path,) = (tmp_path / "e").iterdir()
    numbers, size, length_s = recorded(path)
    # The action is from 5.333 s to 10.667 s; two seconds before it, the last key frame is at 3 s.
    assert size == SIZE
    assert numbers == list(range(36, 140))
    assert length_s == pytest.approx(104 / 12, abs=0.1)
    assert "_000003.000s_" in path.name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_saves_the_action_so_far(aiohttp_server: StartServer, tmp_path: Path, number: int) -> None:
    url, directory = await url_of(showing_an_action(*range(4, 1000)), aiohttp_server), tmp_path / "evidence"
    flags = ("--fps", str(FPS), "--evidence", directory, "--evidence-after", "600")
    with rtsp_server(size=SIZE) as camera:
        async with consuming(camera.url, "--service-url", url, *flags) as consumer:
            await consumer.until("action start")
            await consumer.stop(number)
    (path,) = directory.iterdir()
    assert len(recorded(path)[0]) >= 16


async def test_overlapping_clips_are_not_saved_twice(aiohttp_server: StartServer, tmp_path: Path) -> None:
    url = await url_of(showing_an_action(*range(1000)), aiohttp_server)
    video = write_video(tmp_path / "a.mp4", at(12, 32 / 3), rate=12)
    flags = ("--clip-stride", "1", "--in-flight", "1", "--events", "stdout", "--save-clips", tmp_path / "clips")
    assert (await consume(video, "--service-url", url, *flags)).code == 0
    # Of 25 clips of 2.667 s, those that follow one another.
    assert len(list((tmp_path / "clips").iterdir())) == 4


def saved_file(directory: Path, day: int, size: int = 400_000, name: str = "id-1.mp4") -> Path:
    path = directory / f"camera_202601{day:02}T101010.000Z_{name}"
    path.write_bytes(bytes(size))
    then_s = time.time() - (30 - day) * 86_400
    os.utime(path, (then_s, then_s))
    return path


def test_old_files_are_deleted_and_those_of_others_left(tmp_path: Path) -> None:
    old, fresh = saved_file(tmp_path, 1), saved_file(tmp_path, 29)
    others = tmp_path / "holiday.mp4"
    others.touch()
    os.utime(others, (0, 0))
    assert Retention(keep_days=7).apply(tmp_path) == 1
    assert set(tmp_path.iterdir()) == {fresh, others}
    assert not old.exists()


def test_the_oldest_files_are_deleted_beyond_the_size(tmp_path: Path) -> None:
    files = [saved_file(tmp_path, day) for day in (3, 1, 5, 2, 4)]
    assert Retention(keep_mb=1).apply(tmp_path) == 3
    assert set(tmp_path.iterdir()) == {files[2], files[4]}
    assert Retention().apply(tmp_path) == 0


async def test_retention_applies_when_evidence_is_saved(aiohttp_server: StartServer, tmp_path: Path) -> None:
    url, directory = await url_of(showing_an_action(*range(1000)), aiohttp_server), tmp_path / "evidence"
    directory.mkdir()
    old, fresh = saved_file(directory, 1), saved_file(directory, 29, name="id-2.mkv")
    video = write_video(tmp_path / "a.mp4", at(12, 8), rate=12)
    flags = ("--evidence", directory, "--keep-days", "7", "--keep-mb", "100")
    assert (await consume(video, "--service-url", url, *flags)).code == 0
    assert not old.exists()
    assert fresh.exists()
    assert len(list(directory.iterdir())) == 2


async def test_evidence_of_the_deepstream_backend_is_refused(tmp_path: Path) -> None:
    flags = ("--backend", "deepstream", "--evidence", tmp_path / "evidence")
    ended = await consume(write_video(tmp_path / "a.mp4", at(12, 1)), *flags)
    assert ended.code == 2
    assert "the deepstream backend cannot save --evidence; help: use --backend pyav" in ended.failures[-1]
    assert not (tmp_path / "evidence").exists()


def packets_of(path: Path) -> tuple[av.container.InputContainer, list[av.Packet]]:
    container = av.open(path)
    return container, [packet for packet in container.demux(video=0) if packet.size]


def test_a_long_action_keeps_its_start_within_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    container, packets = packets_of(write_video(tmp_path / "a.mkv", at(12, 30), codec="ffv1", rate=12))
    largest = max(packet.size for packet in packets)
    monkeypatch.setattr("consumer.sources.footage.MOST_BYTES", 100 * largest)
    footage = Footage(history_s=3)
    with container:
        for index, packet in enumerate(packets):
            footage.add(container.streams.video[0], packet)  # type: ignore[arg-type]
            footage.place(packet.pts, index / 12)
            if index == 60:
                footage.hold(3.0)
        held = footage.cut(3.0, 30.0)
        footage.hold(None)
        for index, packet in enumerate(packets):
            packet.pts = packet.dts = (packet.pts or 0) + 30_000
            footage.add(container.streams.video[0], packet)  # type: ignore[arg-type]
            footage.place(packet.pts, 30 + index / 12)
        later = footage.cut(58.5, 60.0)
    assert held is not None
    assert later is not None
    # Key frames are a second apart.
    assert held.start_s == pytest.approx(3, abs=0.05)
    assert 90 * largest <= sum(packet.size for packet in held.packets) <= 100 * largest
    assert later.start_s == pytest.approx(58, abs=0.05)
    assert len(later.packets) == 24
