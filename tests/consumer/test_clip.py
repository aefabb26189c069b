from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.client.encodings import Picture
from consumer.errors import SourceStoppedError
from consumer.sources.clip import Clip, read_clips
from consumer.sources.source import parse_source
from consumer.sources.video import VideoFile, open_video
from sampling.timeline import Timed
from sampling.windows import Shape
from tests.consumer.videos import at, number_of, write_video
from video.clipping import Clipping
from video.picture import PictureMaker


def clips_of(path: Path, frames: int = 16, fps: float = 3, short_edge_px: int = 0) -> list[Clip]:
    source = parse_source(str(path))
    clipping = Clipping(Shape(frames, fps, frames), short_edge_px)
    with open_video(source) as video:
        return list(read_clips(source, video, clipping, lambda: None))


def numbers_of(clip: Clip) -> list[int]:
    return [number_of(picture) for picture in clip.pictures]


def nearest(times_s: list[float], wanted_s: float) -> int:
    return min(range(len(times_s)), key=lambda index: abs(times_s[index] - wanted_s))


@pytest.mark.parametrize("source_fps", [12, 25, 30])
@pytest.mark.parametrize("start_s", [0, 50])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_file_gives_consecutive_clips_sampled_by_time(
    tmp_path: Path, name: str, source_fps: int, start_s: float
) -> None:
    times_s = at(source_fps, 11)
    clips = clips_of(write_video(tmp_path / name, at(source_fps, 11, start_s), rate=source_fps))
    spans_s = [time_s for clip in clips for time_s in (clip.start_s, clip.end_s)]
    assert spans_s == pytest.approx([0, 16 / 3, 16 / 3, 32 / 3, 11 - 16 / 3, 11])
    expected = [nearest(times_s, tick / 3) % 256 for tick in range(32)]
    assert numbers_of(clips[0]) + numbers_of(clips[1]) == expected


def test_a_variable_rate_is_sampled_by_time_not_by_count(tmp_path: Path) -> None:
    # Two seconds at 30 frames a second, then six at 5.
    times_s = at(30, 2) + at(5, 6, start_s=2)
    first, last = clips_of(write_video(tmp_path / "a.mp4", times_s))
    assert numbers_of(first) == [nearest(times_s, tick / 3) for tick in range(16)]
    assert numbers_of(last) == [nearest(times_s, tick / 3) for tick in range(8, 24)]


def test_12_fps_video_gives_every_fourth_frame(tmp_path: Path) -> None:
    (clip,) = clips_of(write_video(tmp_path / "a.webm", at(12, 16 / 3), codec="libvpx", rate=12))
    assert numbers_of(clip) == list(range(0, 64, 4))


def test_other_frame_count_and_rate(tmp_path: Path) -> None:
    clips = clips_of(write_video(tmp_path / "a.mp4", at(30, 4)), frames=8, fps=6)
    assert [numbers_of(clip) for clip in clips] == [
        list(range(0, 40, 5)),
        list(range(40, 80, 5)),
        list(range(80, 120, 5)),
    ]


@pytest.mark.parametrize("seconds", [0.5, 2, 5])
def test_short_file_is_sampled_evenly_and_logged(
    tmp_path: Path, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    times_s = at(30, seconds)
    (clip,) = clips_of(write_video(tmp_path / "a.mp4", times_s))
    assert (clip.start_s, clip.end_s) == pytest.approx((0, seconds), abs=0.01)
    wanted_s = [tick * seconds / 16 for tick in range(16)]
    offs = [abs(times_s[number] - time_s) for number, time_s in zip(numbers_of(clip), wanted_s, strict=True)]
    assert max(offs) <= 1 / 60 + 1e-3
    assert caplog.messages == ["video is shorter than a clip, sampling all of it evenly"]


def test_single_frame_is_repeated_to_a_clip(tmp_path: Path) -> None:
    (clip,) = clips_of(write_video(tmp_path / "a.mp4", [0]))
    assert numbers_of(clip) == [0] * 16


def test_file_of_exactly_one_clip_is_not_logged_as_short(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert len(clips_of(write_video(tmp_path / "a.mkv", at(12, 16 / 3), rate=12))) == 1
    assert not caplog.messages


def test_last_clip_of_a_longer_file_ends_with_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first, last = clips_of(write_video(tmp_path / "a.mp4", at(12, 8), rate=12))
    assert (first.start_s, first.end_s) == pytest.approx((0, 16 / 3))
    assert (last.start_s, last.end_s) == pytest.approx((8 - 16 / 3, 8))
    assert numbers_of(last) == list(range(32, 96, 4))
    assert not caplog.messages


def test_short_file_with_a_gap_still_gives_a_clip(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", [*at(30, 2), *at(30, 2, start_s=500)])
    (clip,) = clips_of(path)
    assert len(clip.pictures) == 16
    assert clip.start_s == pytest.approx(500)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps_ms=st.lists(st.integers(1, 900), min_size=1, max_size=60))
def test_any_video_gives_full_clips_of_the_nearest_frames(tmp_path: Path, steps_ms: list[int]) -> None:
    times_s = [sum(steps_ms[:index]) / 1000 for index in range(len(steps_ms) + 1)]
    clips = clips_of(write_video(tmp_path / "a.mkv", times_s, size=(64, 48)), frames=4)
    assert clips
    fps = 4 / (clips[0].end_s - clips[0].start_s)
    # Covered to the last frame, wherever it is.
    assert clips[-1].start_s <= times_s[-1] < clips[-1].end_s
    for clip in clips:
        for index, number in enumerate(numbers_of(clip)):
            wanted_s = clip.start_s + index / fps
            assert abs(times_s[number] - wanted_s) <= min(abs(each - wanted_s) for each in times_s) + 2e-3


def test_frames_are_decoded_once_and_only_sampled_ones_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()
    read, convert = VideoFile.frames, PictureMaker._convert

    def counted_frames(self: VideoFile) -> Iterator[Timed[av.VideoFrame]]:
        for frame in read(self):
            counts["decoded"] += 1
            yield frame

    def counted_convert(self: PictureMaker, frame: av.VideoFrame) -> Picture:
        counts["converted"] += 1
        return convert(self, frame)

    monkeypatch.setattr(VideoFile, "frames", counted_frames)
    monkeypatch.setattr(PictureMaker, "_convert", counted_convert)
    assert len(clips_of(write_video(tmp_path / "a.mp4", at(30, 32 / 3)))) == 2
    assert counts == {"decoded": 320, "converted": 32}


def test_clips_are_read_lazily(tmp_path: Path) -> None:
    source, stopped = parse_source(str(write_video(tmp_path / "a.mp4", at(30, 20)))), threading.Event()
    with open_video(source, stopped) as video:
        clips = read_clips(source, video, Clipping(Shape(16, 3, 16), 0), lambda: None)
        next(clips)
        stopped.set()
        with pytest.raises(SourceStoppedError):
            next(clips)
