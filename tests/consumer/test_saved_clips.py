from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import av
import numpy as np
import pytest
from aiohttp.test_utils import TestServer

from consumer.client.answer import Prediction
from consumer.errors import OutputError
from consumer.output.classified_clip import ClassifiedClip
from consumer.output.retention import Retention
from consumer.output.saved_clips import SavedClips
from consumer.sources.clip import Clip
from tests.consumer.peers import LiveServer
from tests.consumer.processes import consume, consuming
from tests.consumer.recording_service import Received, RecordingService, answer
from tests.consumer.senders import rtsp_server
from tests.consumer.videos import at, number_of, numbered_frame, write_video

KEEP = Retention()
StartServer = Callable[..., Awaitable[TestServer]]


def clip_of(size: tuple[int, int] = (128, 96)) -> Clip:
    pictures = tuple(numbered_frame(number, size).to_ndarray(format="rgb24") for number in range(16))
    return Clip(pictures, 32.0, 32.0 + 16 / 3)


def result_for(clip: Clip, label: str = "Pushing something", source: str = "rtsp://door:554/1?a=b") -> ClassifiedClip:
    return ClassifiedClip(source, clip.start_s, clip.end_s, (Prediction(label, 0.93),), "id/../1", "m", {}, 1.0)


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_saved_clip_shows_its_label(tmp_path: Path) -> None:
    clip = clip_of()
    path = SavedClips(tmp_path / "new", KEEP).save(clip, result_for(clip), live=False)
    assert path == tmp_path / "new" / "rtsp-door-554-1-a-b_000032.000s_id----1.mp4"
    with av.open(path) as container:
        assert container.streams.video[0].average_rate == 3
    frames = frames_of(path)
    assert [number_of(frame) for frame in frames] == list(range(16))
    # White letters on a black band, where the first frame is black all over.
    assert frames[0][-20:].max() > 200
    assert frames[0][: frames[0].shape[0] * 2 // 3].max() < 60
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("size", [(129, 97), (16, 16), (519, 292)])
@pytest.mark.parametrize("label", ["", "Ünïcode 推す", "a very long label " * 20])
def test_any_size_and_any_label_can_be_saved(tmp_path: Path, size: tuple[int, int], label: str) -> None:
    clip = clip_of(size)
    frames = frames_of(SavedClips(tmp_path, KEEP).save(clip, result_for(clip, label), live=True))
    assert len(frames) == 16
    factor = max(1, -(-240 // min(size)))
    assert frames[0].shape == (size[1] * factor // 2 * 2, size[0] * factor // 2 * 2, 3)


def test_live_clip_is_named_by_its_time(tmp_path: Path) -> None:
    clip = Clip(clip_of().pictures, 1_700_000_000.25, 1_700_000_005.0)
    assert "_20231114T221320.250Z_" in SavedClips(tmp_path, KEEP).save(clip, result_for(clip), live=True).name


def test_directory_that_cannot_be_created_raises_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write .*file/clips: .*help: .*--save-clips"):
        SavedClips(tmp_path / "file" / "clips", KEEP)


def test_failed_save_leaves_no_file(tmp_path: Path) -> None:
    saved_clips, clip = SavedClips(tmp_path / "clips", KEEP), clip_of()
    (tmp_path / "clips").rmdir()
    with pytest.raises(OutputError, match="cannot write"):
        saved_clips.save(clip, result_for(clip), live=False)
    assert list(tmp_path.iterdir()) == []


async def test_clips_are_saved_as_they_are_classified(live_server: LiveServer, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", at(12, 32 / 3), rate=12)
    ended = await consume(video, "--service-url", live_server.url, "--save-clips", tmp_path / "clips", "--json")
    assert ended.code == 0
    saved = sorted((tmp_path / "clips").iterdir())
    ids = [json.loads(line)["clip_id"] for line in ended.output]
    assert [path.stem.rsplit("_", 1)[1] for path in saved] == ids
    assert all(len(frames_of(path)) == 16 for path in saved)


async def test_with_events_only_confident_clips_are_saved(aiohttp_server: StartServer, tmp_path: Path) -> None:
    service = RecordingService()

    async def reply(received: Received) -> object:
        return answer("a", 0.9 if len(service.received) == 2 else 0.1, received.query["clip_id"])

    service.reply = reply  # type: ignore[assignment]
    url = str((await aiohttp_server(service.application())).make_url("/"))
    video = write_video(tmp_path / "a.mp4", at(12, 24 / 3), rate=12)
    flags = ("--events", "stdout", "--in-flight", "1", "--save-clips", tmp_path / "clips")
    assert (await consume(video, "--service-url", url, *flags)).code == 0
    (saved,) = (tmp_path / "clips").iterdir()
    assert "_000002.667s_" in saved.name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_leave_no_incomplete_clip(aiohttp_server: StartServer, tmp_path: Path, number: int) -> None:
    url = str((await aiohttp_server(RecordingService().application())).make_url("/"))
    directory = tmp_path / "clips"
    with rtsp_server(size=(640, 480)) as camera:
        arguments = (camera.url, "--service-url", url, "--fps", "20", "--clip-stride", "1", "--save-clips", directory)
        async with consuming(*arguments) as consumer:
            await consumer.until("clip saved")
            # In the midst of writing one, if it can be met.
            async with asyncio.timeout(60):
                while not any(path.suffix == ".part" for path in directory.iterdir()):
                    await asyncio.sleep(0)
            assert await consumer.stop(number) == (130 if number == signal.SIGINT else 0)
    saved = list(directory.iterdir())
    assert saved
    assert all(path.suffix == ".mp4" and not path.name.startswith(".") for path in saved)
    assert all(len(frames_of(path)) == 8 for path in saved)
