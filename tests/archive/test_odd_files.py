"""Files that are no ordinary videos: labelled rightly, or refused in one line."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from archive.classification import classify, classify_video
from archive.decoding.job import Sampling
from archive.decoding.limits import Limits
from archive.decoding.process import DecoderProcess
from archive.errors import ArchiveError, DecoderDiedError, DecoderSilentError
from archive.video import Ended, Scored, WindowScores, local_video
from engines.engine import Engine
from engines.runtimes.registry import load_engine
from engines.storage.bundle import DEMO, open_bundle
from export.demo.show import SAMPLE, SAMPLE_LABEL
from tests.consumer.videos import at, write_sound, write_video
from video.errors import VideoError

SAMPLING = Sampling()
TICK = Fraction(1, 1000)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    loaded = load_engine(open_bundle(DEMO))
    yield loaded
    loaded.close()


def windows_of(path: Path, engine: Engine) -> list[WindowScores]:
    return list(classify_video(str(path), engine, SAMPLING))


def failure_of(path: Path, engine: Engine) -> str:
    with pytest.raises((VideoError, ArchiveError)) as raised:
        windows_of(path, engine)
    text = str(raised.value)
    assert "\n" not in text
    assert "; help: " in text
    return text


def test_a_video_without_sound_and_one_with_sound_get_the_same_answers(engine: Engine, tmp_path: Path) -> None:
    silent = write_video(tmp_path / "silent.mp4", at(12, 8), rate=12)
    loud = write_video(tmp_path / "loud.mp4", at(12, 8), rate=12, sound_s=8)
    for one, other in zip(windows_of(silent, engine), windows_of(loud, engine), strict=True):
        assert (one.start_s, one.end_s) == (other.start_s, other.end_s)
        assert one.scores == pytest.approx(other.scores, abs=1e-6)


def test_only_sound_is_no_video(engine: Engine, tmp_path: Path) -> None:
    assert "no video in" in failure_of(write_sound(tmp_path / "sound.m4a"), engine)


@pytest.mark.parametrize("content", [b"", b"no video", os.urandom(100_000)])
def test_a_file_that_is_no_video_is_refused(engine: Engine, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.mp4").write_bytes(content)
    assert "cannot read" in failure_of(tmp_path / "file.mp4", engine)


def test_a_pipe_is_refused_without_waiting_for_it(engine: Engine, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "it is not a regular file" in failure_of(tmp_path / "pipe.mp4", engine)


def test_a_truncated_video_is_labelled_as_far_as_it_goes(engine: Engine, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.ts", at(12, 30), rate=12)
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    found = windows_of(cut, engine)
    assert 10 < found[-1].end_s < 25


def test_a_truncated_mp4_lacks_its_index_and_is_refused(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(SAMPLE.read_bytes()[:-2000])
    assert "cannot read" in failure_of(tmp_path / "cut.mp4", engine)


def test_a_variable_frame_rate_keeps_its_times(engine: Engine, tmp_path: Path) -> None:
    times = [*at(30, 4), *at(5, 4, start_s=4), *at(60, 4, start_s=8)]
    found = windows_of(write_video(tmp_path / "variable.mp4", times, rate=30), engine)
    assert found[0].start_s == 0
    assert found[-1].end_s == pytest.approx(12, abs=0.4)


def test_a_rotated_recording_of_a_phone_is_turned_upright(engine: Engine, tmp_path: Path) -> None:
    """The sample, turned by 90 degrees, with the note for players to turn it back."""
    turned = tmp_path / "turned.mp4"
    with av.open(str(SAMPLE)) as source:
        pictures = [np.rot90(frame.to_ndarray(format="rgb24"), 3) for frame in source.decode(video=0)]
    with av.open(str(turned), "w") as target:
        stream = target.add_stream("libx264", rate=12)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    _note_rotation(turned)
    with av.open(str(turned)) as container:
        assert abs(next(container.decode(video=0)).rotation) == 90
    (window,) = windows_of(turned, engine)
    assert engine.manifest.labels[window.scores.argmax()] == SAMPLE_LABEL


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video in 8K."""
    path = tmp_path_factory.mktemp("large") / "large.mp4"
    return write_video(path, at(1, 4), size=(7680, 4320), rate=1, codec="mpeg4", time_base=TICK)


def test_8k_is_labelled_as_its_small_copy_is(large: Path, engine: Engine, tmp_path: Path) -> None:
    small = write_video(tmp_path / "small.mp4", at(1, 4), size=(480, 270), rate=1, codec="mpeg4", time_base=TICK)
    for one, other in zip(windows_of(large, engine), windows_of(small, engine), strict=True):
        assert one.scores == pytest.approx(other.scores, abs=0.1)


def test_a_video_of_ten_hours_takes_no_more_memory_than_a_short_one(engine: Engine, tmp_path: Path) -> None:
    minute = write_video(tmp_path / "minute.mp4", at(1, 60), size=(64, 48), time_base=TICK, rate=1)
    video = _repeated(minute, tmp_path / "long.mp4", 600)
    peaks, end_s = [], 0.0
    for window in classify_video(str(video), engine, Sampling(fps=0.02, max_gap_s=60)):
        end_s = window.end_s
        # The decoder may end at any moment, because it is ahead.
        with contextlib.suppress(OSError, psutil.Error, IndexError):
            peaks += [_memory_kb(decoder.pid, "VmHWM") for decoder in _decoders()]
    assert end_s == pytest.approx(36_000, abs=60)
    assert len(peaks) > 30
    assert peaks[-1] - peaks[0] < 20_000


def _decoders() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "archive.decoding" in each.cmdline()]


def _memory_kb(pid: int, name: str) -> int:
    return int(re.findall(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[0])


def _repeated(source: Path, target: Path, times: int) -> Path:
    """Write the packets of ``source`` so many times, one after another."""
    with av.open(str(source)) as once, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(once.streams.video[0])
        packets = [(bytes(each), each.pts, each.dts, each.is_keyframe) for each in once.demux(video=0) if each.size]
        for number in range(times):
            for content, pts, dts, is_keyframe in packets:
                packet = av.Packet(content)
                shift = number * round(60 / once.streams.video[0].time_base)
                packet.pts, packet.dts, packet.is_keyframe = pts + shift, dts + shift, is_keyframe
                packet.time_base, packet.stream = once.streams.video[0].time_base, stream
                container.mux(packet)
    return target


def test_a_decoder_that_is_killed_costs_its_video_and_no_other(engine: Engine, tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.mp4", at(12, 60), rate=12)
    decoder = DecoderProcess(engine.allocate)
    job = SAMPLING.job(str(video), "video.mp4", engine.manifest)
    whole = [window.start_s for window in decoder.windows(job)]
    windows = decoder.windows(job)
    next(windows)
    decoder.kill()
    with pytest.raises(DecoderDiedError, match=f"by signal {int(signal.SIGKILL)}"):
        list(windows)
    assert [window.start_s for window in decoder.windows(job)] == whole
    decoder.close()


def test_a_decoder_that_hangs_is_ended(engine: Engine) -> None:
    decoder = DecoderProcess(engine.allocate, silence_s=0.01)
    # Its start alone takes longer than that.
    with pytest.raises(DecoderSilentError):
        list(decoder.windows(SAMPLING.job(str(SAMPLE), "sample.mp4", engine.manifest)))


def test_a_decoder_has_no_more_memory_than_its_limit(large: Path, engine: Engine) -> None:
    small, big = (SAMPLING.job(str(path), path.name, engine.manifest, threads=1) for path in (SAMPLE, large))
    decoder = DecoderProcess(engine.allocate)
    assert len(list(decoder.windows(small))) == 1
    (process,) = _decoders()
    enough_kb = _memory_kb(process.pid, "VmPeak")
    decoder.close()
    limited = DecoderProcess(engine.allocate, Limits(memory_bytes=(enough_kb + 50_000) * 1024))
    assert len(list(limited.windows(small))) == 1
    with pytest.raises((VideoError, ArchiveError)):
        list(limited.windows(big))
    assert len(list(limited.windows(small))) == 1
    limited.close()


def test_who_stops_listening_leaves_no_process_and_no_thread(engine: Engine, tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.mp4", at(12, 60), rate=12)
    # The engine starts threads of its own for its first window.
    windows_of(SAMPLE, engine)
    threads = threading.active_count()
    events = classify([local_video(str(video))] * 3, engine, SAMPLING, decoders=2)
    assert isinstance(next(events), Scored)
    events.close()
    assert threading.active_count() == threads


def test_each_video_ends_once_and_its_windows_come_in_order(engine: Engine, tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.mp4", at(12, 30), rate=12)
    videos = [local_video(str(path)) for path in (video, tmp_path / "none.mp4", SAMPLE)]
    events = list(classify(videos, engine, SAMPLING, decoders=2))
    ended = {event.video.name: event.error for event in events if isinstance(event, Ended)}
    assert {name for name, error in ended.items() if error} == {str(tmp_path / "none.mp4")}
    starts = [event.window.start_s for event in events if isinstance(event, Scored) and event.video is videos[0]]
    assert len(starts) > 5
    assert starts == sorted(starts)


def _note_rotation(path: Path) -> None:
    """Write a turn by 90 degrees into the track header of an MP4."""
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd")
    matrix = header + 4 + 4 + 5 * 4 + 2 * 4 + 4 * 2
    one, minus_one = (1 << 16).to_bytes(4, "big"), (-(1 << 16)).to_bytes(4, "big", signed=True)
    none, unit = bytes(4), (1 << 30).to_bytes(4, "big")
    content[matrix : matrix + 36] = none + minus_one + none + one + none + none + none + none + unit
    path.write_bytes(content)
