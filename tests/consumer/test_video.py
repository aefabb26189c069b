from __future__ import annotations

import struct
import threading
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path

import av
import pytest

from consumer.errors import NoVideoError, SourceStoppedError, SourceUnreadableError
from consumer.sources.source import Kind, Source, parse_source
from consumer.sources.video import VideoFile, open_video
from tests.consumer.videos import at, damage, number_of, write_sound, write_video
from video.picture import PictureMaker


def opened(path: Path) -> AbstractContextManager[VideoFile]:
    return open_video(Source(Kind.FILE, str(path), str(path)))


def times_of(path: Path) -> list[float]:
    with opened(path) as video:
        return [frame.time_s for frame in video.frames()]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.mov"])
@pytest.mark.parametrize("fps", [12, 25, 30])
def test_frames_come_with_their_times(tmp_path: Path, name: str, fps: int) -> None:
    path = write_video(tmp_path / name, at(fps, 2), rate=fps)
    with opened(path) as video:
        maker = PictureMaker(0)
        frames = [(frame.time_s, number_of(maker.make(frame.frame))) for frame in video.frames()]
    assert [number for _, number in frames] == list(range(2 * fps))
    assert [time_s for time_s, _ in frames] == pytest.approx(at(fps, 2), abs=1e-3)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_a_stream_that_starts_late_is_counted_from_its_start(tmp_path: Path, name: str) -> None:
    assert times_of(write_video(tmp_path / name, at(30, 1, start_s=100))) == pytest.approx(at(30, 1), abs=1e-3)


def test_times_count_from_sound_that_starts_first(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", at(30, 1, start_s=2), sound_s=3)
    assert times_of(path) == pytest.approx(at(30, 1, start_s=2), abs=0.03)


def test_a_variable_rate_is_kept(tmp_path: Path) -> None:
    times_s = [0, 0.01, 0.5, 0.52, 0.9, 2.0, 2.01, 3.5]
    assert times_of(write_video(tmp_path / "a.mp4", times_s)) == pytest.approx(times_s, abs=1e-3)


def test_raw_stream_without_time_stamps_uses_its_rate(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.h264", at(12, 2), time_base=Fraction(1, 12), rate=12)
    with av.open(path) as container:
        assert {packet.pts for packet in container.demux()} == {None}
    assert times_of(path) == pytest.approx(at(12, 2), abs=1e-3)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.h264"])
def test_length_is_measured_from_the_packets(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, at(12, 2.5, start_s=7), time_base=Fraction(1, 12), rate=12)
    with opened(path) as video:
        assert video.length_s(limit_s=100) == pytest.approx(2.5, abs=0.002)
        assert video.length_s(limit_s=1) == 1
        assert len(list(video.frames())) == 30


def test_stop_ends_the_frames(tmp_path: Path) -> None:
    stopped = threading.Event()
    with open_video(parse_source(str(write_video(tmp_path / "a.mp4", at(30, 2)))), stopped) as video:
        frames = video.frames()
        next(frames)
        stopped.set()
        with pytest.raises(SourceStoppedError):
            next(frames)


def test_damaged_packets_are_skipped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_video(tmp_path / "a.mp4", at(30, 2), codec="mpeg4", time_base=Fraction(1, 30))
    damage(path, slice(20, 21))
    assert 50 <= len(times_of(path)) < 60
    assert "damaged packets skipped" in caplog.messages


def test_rotated_video_is_turned_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", at(30, 0.2), size=(128, 96))
    turn_clockwise(path)
    with opened(path) as video:
        second = list(video.frames())[1].frame
        picture = PictureMaker(0).make(second)
    assert picture.shape == (128, 96, 3)
    # Bit 0 of frame 1 is a white column at the left, which turning clockwise makes a white row at the top.
    assert picture[:14].min() > 200
    assert picture[18:].max() < 50


@pytest.mark.parametrize("name", ["my:clip 1.mp4", "-.mp4", "%03d.mp4", "ü.mp4"])
def test_special_characters_in_file_names(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / "a.mp4", at(30, 0.2)).rename(tmp_path / name)
    assert len(times_of(path)) == 6


def test_sources_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "empty.mp4").touch()
    for name, reason in (
        ("missing.mp4", "no such file"),
        (".", "is a directory"),
        ("text.mp4", "invalid data"),
        ("empty.mp4", "invalid data"),
    ):
        with pytest.raises(SourceUnreadableError, match=reason), opened(tmp_path / name):
            pass


def test_text_file_raises(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n" * 100)
    with pytest.raises(NoVideoError, match="ansi"), opened(tmp_path / "notes.txt"):
        pass


def test_file_with_sound_only_raises(tmp_path: Path) -> None:
    with pytest.raises(NoVideoError, match=r"audio \(aac\).*help: "), opened(write_sound(tmp_path / "a.m4a")):
        pass


def test_a_truncated_file_gives_what_is_there(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", at(30, 6))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 30 < len(times_of(path)) < 180


def turn_clockwise(path: Path) -> None:
    """Write into the MP4's track header what a phone held upright writes."""
    content = bytearray(path.read_bytes())
    matrix = content.find(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
