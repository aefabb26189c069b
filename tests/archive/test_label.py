"""The command as it is used: videos in; tables, files and exit codes out."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("pyarrow")

import pyarrow.parquet as pq
from rich.console import Console

from archive.output.progress import Bar
from export.demo.labels import HOLD
from export.demo.show import SAMPLE, SAMPLE_LABEL
from tests.archive.recordings import WINDOW_S, Action, overlap, write_frames, write_recording
from tests.consumer.videos import at, write_video
from tests.in_process import run_here
from tests.live_server import LiveServer, run_module
from video.picture import PictureMaker


def label(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_here("archive", *map(str, arguments))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[Action]]]:
    """A directory of videos, one of them in a directory below, and the actions in each."""
    directory = tmp_path_factory.mktemp("recorded")
    (directory / "below").mkdir()
    names = ("one.mp4", "two.mp4", "below/three.mp4")
    return directory, {name: write_recording(directory / name, seed) for seed, name in enumerate(names)}


@pytest.fixture(scope="module")
def labelled(recorded: tuple[Path, dict[str, list[Action]]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of ``recorded`` in all formats."""
    out = tmp_path_factory.mktemp("labelled") / "out"
    formats = [word for each in ("json", "csv", "vtt") for word in ("--format", each)]
    ended = label(recorded[0], "--out", out, "--stride", "4", *formats)
    assert (ended.returncode, ended.stdout) == (0, "")
    return out


def test_a_table_of_the_actions_is_printed() -> None:
    ended = label(SAMPLE)
    assert ended.returncode == 0
    assert re.search(rf"^  00:00:0\d\.\d+  00:00:0\d\.\d+ +\d+\.\d%  {SAMPLE_LABEL}$", ended.stdout, re.MULTILINE)


def test_actions_are_found_where_they_are_and_none_in_still_stretches(
    recorded: tuple[Path, dict[str, list[Action]]], labelled: Path
) -> None:
    """The test of a hundred videos is ``python -m tests.archive.accuracy``."""
    overlaps = []
    for name, actions in recorded[1].items():
        segments = json.loads((labelled / f"{name}.json").read_text())["segments"]
        times = [(each["start_s"], each["end_s"], each["label"]) for each in segments]
        for action in actions:
            found = [overlap(each[:2], (action.start_s, action.end_s)) for each in times if each[2] == action.label]
            overlaps.append(max(found, default=0.0))
        moving = [(action.start_s, action.end_s) for action in actions]
        assert all(any(overlap(each[:2], one) > 0 for one in moving) for each in times)
        assert HOLD not in {each[2] for each in times}
    assert np.mean(overlaps) >= 0.8


def test_a_parquet_file_has_a_row_for_each_window_up_to_the_end(
    recorded: tuple[Path, dict[str, list[Action]]], labelled: Path
) -> None:
    for name in recorded[1]:
        table = pq.read_table(labelled / f"{name}.parquet")
        rows = table.to_pylist()
        with av.open(str(recorded[0] / name)) as container:
            assert container.duration is not None
            length_s = container.duration / av.time_base
        assert rows[0]["start_s"] == 0
        assert rows[-1]["end_s"] == pytest.approx(length_s, abs=0.4)
        assert all(row["end_s"] - row["start_s"] == pytest.approx(WINDOW_S) for row in rows)
        steps = np.diff([row["start_s"] for row in rows])
        assert steps[:-1] == pytest.approx(4 / 3)
        assert np.sum([row["scores"] for row in rows], axis=1) == pytest.approx(1, abs=1e-4)
        assert {row["model"] for row in rows} == {"demo"}
        assert {row["head"] for row in rows} == {None}
        assert all(row["version"] for row in rows)


def test_all_formats_tell_the_same_segments(labelled: Path) -> None:
    told = json.loads((labelled / "one.mp4.json").read_text())
    rows = list(csv.DictReader((labelled / "one.mp4.csv").open()))
    assert [float(row["start_s"]) for row in rows] == [each["start_s"] for each in told["segments"]]
    cues = re.findall(r"^(\S+) --> (\S+)\n(.*) \(\d+%\)$", (labelled / "one.mp4.vtt").read_text(), re.MULTILINE)
    assert [cue[2] for cue in cues] == [each["label"] for each in told["segments"]]
    assert len(told["windows"]) == pq.read_metadata(labelled / "one.mp4.parquet").num_rows
    assert all(len(each["predictions"]) == 5 for each in told["windows"])


def test_what_is_there_is_not_computed_again_but_further_formats_are_made(
    recorded: tuple[Path, dict[str, list[Action]]], labelled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(labelled, out)
    (out / "two.mp4.vtt").unlink()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    ended = label(recorded[0], "--out", out, "--stride", "4", "--format", "vtt")
    assert ended.returncode == 0
    assert "there_before=3 failed=0 windows=0" in ended.stderr
    assert (out / "two.mp4.vtt").read_text() == (labelled / "two.mp4.vtt").read_text()
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}


def test_results_of_another_sampling_are_not_mixed(labelled: Path) -> None:
    ended = label(SAMPLE, "--out", labelled, "--stride", "5")
    assert ended.returncode == 2
    assert "has results of demo" in ended.stderr
    assert "stride 4, and these would be of" in ended.stderr


def test_videos_that_cannot_be_read_are_listed_and_the_rest_labelled(tmp_path: Path) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    shutil.copy(SAMPLE, videos / "good.mp4")
    (videos / "broken.mp4").write_text("no video")
    (videos / "empty.mp4").write_bytes(b"")
    ended = label(videos, tmp_path / "missing.mp4", "--out", out)
    assert ended.returncode == 1
    failures = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert sorted(Path(each["video"]).name for each in failures) == ["broken.mp4", "empty.mp4", "missing.mp4"]
    assert all(each["reason"].startswith("cannot read ") for each in failures)
    assert (out / "good.mp4.parquet").exists()
    shutil.copy(SAMPLE, videos / "broken.mp4")
    (videos / "empty.mp4").unlink()
    ended = label(videos, "--out", out)
    assert ended.returncode == 0
    assert "videos=2 there_before=1 failed=0 windows=1" in ended.stderr
    assert not (out / "failures.jsonl").exists()


def test_an_annotated_copy_keeps_times_and_sound(tmp_path: Path) -> None:
    video = write_video(tmp_path / "sound.mp4", at(12, 6), rate=12, sound_s=6)
    out = tmp_path / "out"
    assert label(video, "--out", out, "--annotate", "--no-action", "none", "--still-below", "0").returncode == 0
    told = pq.read_table(out / "sound.mp4.parquet").num_rows
    assert told == 2
    with av.open(str(video)) as before, av.open(str(out / "sound.mp4.annotated.mp4")) as after:
        assert after.streams.video[0].codec_context.name == "h264"
        assert after.streams.audio[0].codec_context.name == before.streams.audio[0].codec_context.name
        sound = [sum(packet.size for packet in each.demux(audio=0)) for each in (before, after)]
        assert sound[0] == sound[1]
    with av.open(str(video)) as before, av.open(str(out / "sound.mp4.annotated.mp4")) as after:
        times = [[frame.time for frame in each.decode(video=0)] for each in (before, after)]
    assert times[1] == pytest.approx(times[0], abs=1e-3)


def test_the_actions_are_drawn_into_the_picture(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert label(SAMPLE, "--out", out, "--annotate").returncode == 0
    tops = []
    for path in (SAMPLE, out / "sample.mp4.annotated.mp4"):
        with av.open(str(path)) as container:
            picture = PictureMaker(0).make(next(container.decode(video=0)))
        tops.append(picture[: picture.shape[0] // 16].mean())
    assert tops[1] < tops[0] / 2


def test_videos_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(SAMPLE, tmp_path / name / "clip.mp4")
    ended = label(tmp_path / "a/clip.mp4", tmp_path / "b/clip.mp4", "--out", tmp_path / "out")
    assert ended.returncode == 2
    assert "would have the same name" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--format", "parquet"), "--format parquet needs --out"),
        (("--annotate",), "--annotate needs --out"),
        (("--ray",), "--ray needs --out"),
        (("--format", "json", "--format", "csv"), "several --format need --out"),
        (("--enter", "0.2", "--leave", "0.3"), "--leave is greater than --enter"),
        (("--stride", "0"), "'0' is not a whole number from 1 to 100000"),
        (("--out", "nowhere://bucket"), "cannot write to nowhere://bucket"),
    ],
)
def test_wrong_arguments_take_two_lines(arguments: tuple[str, ...], told: str) -> None:
    ended = label(SAMPLE, *arguments)
    assert ended.returncode == 2
    assert told in ended.stderr


def test_a_video_is_required() -> None:
    ended = label()
    assert ended.returncode == 2
    assert "the following arguments are required: VIDEO|DIR" in ended.stderr


def test_an_empty_directory_is_an_error(tmp_path: Path) -> None:
    ended = label(tmp_path)
    assert ended.returncode == 2
    assert "there is no video file in" in ended.stderr


def test_no_readable_video_ends_with_code_2(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_text("no video")
    assert label(tmp_path).returncode == 2


def test_a_still_video_shows_no_action(tmp_path: Path) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (1, 96, 128, 3), np.uint8)
    write_frames(tmp_path / "still.mp4", np.repeat(frame, 150, 0))
    ended = label(tmp_path / "still.mp4", "--no-action", "none")
    assert "no action in" in ended.stdout


def test_rows_of_several_videos_have_one_header(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(SAMPLE, tmp_path / name)
    ended = label(tmp_path, "--format", "csv")
    rows = list(csv.DictReader(ended.stdout.splitlines()))
    assert {Path(row["video"]).name for row in rows} == {"a.mp4", "b.mp4"}
    assert {row["label"] for row in rows} == {SAMPLE_LABEL}
    subtitles = label(tmp_path, "--format", "vtt")
    assert subtitles.returncode == 2
    assert "give --out" in subtitles.stderr


def test_windows_are_answered_as_the_service_answers_the_consumer(live_server: LiveServer) -> None:
    """The consumer's clips of the same recording, sent as pixels: sampling and preprocessing are one."""
    told = json.loads(label(SAMPLE, "--format", "json").stdout)["windows"]
    sent = run_module("consumer", str(SAMPLE), "--service-url", live_server.url, "--json", "--encoding", "raw")
    (answer,) = (json.loads(line) for line in sent.stdout.splitlines())
    assert [each["label"] for each in told[0]["predictions"]] == [each["label"] for each in answer["predictions"]]
    here, there = ([each["confidence"] for each in one["predictions"]] for one in (told[0], answer))
    assert here == pytest.approx(there, abs=1e-4)


def test_progress_tells_the_time_left_on_a_terminal() -> None:
    terminal = io.StringIO()
    with Bar(4, Console(file=terminal, force_terminal=True, width=100)) as bar:
        bar.scored("a.mp4", 5.0, 10.0)
        bar.ended("a.mp4")
        bar.scored("b.mp4", 5.0, 10.0)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "1/4 videos" in shown
    assert "windows/s" in shown
    assert "38%" in shown


def test_progress_elsewhere_is_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archive.output.progress.LOG_EVERY_S", 0.0)
    with caplog.at_level("INFO"), Bar(4, Console(file=io.StringIO())) as bar:
        bar.ended("a.mp4")
    (record,) = caplog.records
    assert (record.__dict__["videos"], record.__dict__["percent"]) == ("1/4", 25.0)
    assert record.__dict__["left_s"] >= 0
