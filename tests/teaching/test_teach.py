"""The command as it is used: videos of actions in; a head, its report and its pictures out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("sklearn")

from PIL import Image

from engines import manifest as manifests
from engines.linear_heads.manifest import Report
from engines.linear_heads.storage import open_head
from engines.storage.bundle import DEMO, read_manifest
from tests.archive.recordings import write_frames
from tests.in_process import run_here
from tests.live_server import ROOT
from tests.teaching.motions import SECONDS, film, write_videos

ACTIONS = ("circle", "climb", "pulse")
EACH = 6
# A clip takes three frames a second.
FPS = 4


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["VJEPA_ANSWERS"] = str(tmp_path_factory.mktemp("answers"))


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos of each of three actions and of a background; one is long, and one is a directory of images."""
    directory = tmp_path_factory.mktemp("examples")
    for action in ACTIONS:
        write_videos(directory / action, action, EACH, fps=FPS)
    write_videos(directory / "background", "empty", EACH, fps=FPS)
    write_frames(directory / "climb" / "climb-0.mp4", np.tile(film("climb", 0, SECONDS * FPS), (3, 1, 1, 1)), FPS)
    pulse = directory / "pulse" / "pulse-0.mp4"
    pulse.unlink()
    pulse.with_suffix("").mkdir()
    for number, frame in enumerate(film("pulse", 0, 16)):
        Image.fromarray(frame).save(pulse.with_suffix("") / f"{number}.png")
    return directory


@pytest.fixture(scope="module")
def heads(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the head ``moves``, taught the examples, and what the command printed in ``printed``."""
    heads = tmp_path_factory.mktemp("heads")
    told = teach("moves", examples, heads)
    assert told.returncode == 0, told.stderr
    (heads / "printed").write_text(told.stdout)
    return heads


def teach(name: str, examples: Path, heads: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    arguments = (name, examples, "--heads", heads, "--bundle", DEMO, *options)
    return run_here("teaching", *map(str, arguments))


def report_of(told: str) -> Report:
    """The report in the last line that ``--json`` prints."""
    return msgspec.convert(json.loads(told.splitlines()[-1])["report"], Report)


def test_a_head_tells_other_videos_apart_and_background_is_unknown(heads: Path, tmp_path: Path) -> None:
    for action in ACTIONS:
        write_videos(tmp_path / action, action, 4, first_seed=100, fps=FPS)
    write_videos(tmp_path / "background", "empty", 4, first_seed=100, fps=FPS)
    told = run_here(
        "evaluation", str(tmp_path), "--head", "moves", "--heads", str(heads), "--bundle", str(DEMO), "--json"
    )
    [subject] = json.loads(told.stdout)["subjects"]
    assert subject["actions"]["background"]["count"] >= 3
    assert subject["top1"]["count"] >= 12


def test_the_report_is_printed_for_people(heads: Path) -> None:
    table = " ".join((heads / "printed").read_text().split())
    report = open_head(heads / "moves").manifest.report
    for number, each in enumerate(report.classes, 1):
        interval = f"{each.recall_low:.0%}-{each.recall_high:.0%}"
        assert f"{number} {each.label} {each.videos} {each.recall:.0%} {interval}" in table
    assert f"false alarms {report.false_alarms:.1%} of {report.background_windows} background windows" in table


def test_a_second_run_computes_no_features_and_gives_the_same_head(examples: Path, heads: Path, tmp_path: Path) -> None:
    """It is also told to a program: the progress, and the same report."""
    answers = Path(os.environ["VJEPA_ANSWERS"])
    kept = {path.name: path.stat().st_mtime_ns for path in answers.iterdir()}
    copy = shutil.copytree(examples, tmp_path / "copy")
    lines = teach("moves", copy, tmp_path, "--json").stdout.splitlines()
    assert {path.name: path.stat().st_mtime_ns for path in answers.iterdir()} == kept
    assert (tmp_path / "moves" / "weights.npz").read_bytes() == (heads / "moves" / "weights.npz").read_bytes()
    assert report_of(lines[-1]) == open_head(heads / "moves").manifest.report
    steps = [json.loads(line) for line in lines[:-1]]
    assert [step["done"] for step in steps if step["step"] == "videos"] == list(range(1, 4 * EACH + 1))
    assert [step["of"] for step in steps if step["step"] == "folds"] == [EACH] * EACH


def test_the_clips_of_a_long_video_are_one_video(heads: Path) -> None:
    """Their share of the report: clips are cut every half window, and a video is right or wrong as a whole."""
    report = open_head(heads / "moves").manifest.report
    assert [(each.label, each.videos, each.clips) for each in report.classes] == [
        ("circle", EACH, EACH),
        ("climb", EACH, EACH + 4),
        ("pulse", EACH, EACH),
    ]
    assert [sum(row) for row in report.confusion] == [EACH, EACH + 4, EACH]


def test_pictures_are_beside_the_head(heads: Path) -> None:
    for name in ("confusion.png", "reliability.png"):
        assert Image.open(heads / "moves" / name).width > 300


def test_what_cannot_be_told_apart_is_not_called_better_than_chance(examples: Path, tmp_path: Path) -> None:
    """Two directories with the same mixture of actions."""
    for number in range(EACH):
        for action in ACTIONS:
            name = next((examples / action).glob(f"*-{number}*")).name
            place = tmp_path / "mixed" / ("one" if number % 2 else "other") / f"{action}-{name}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(examples / action / name)
    report = report_of(teach("moves", tmp_path / "mixed", tmp_path, "--json").stdout)
    assert report.accuracy < 0.8
    assert any("not shown to be told better than by chance" in warning for warning in report.warnings)
    assert any("no background was given" in warning for warning in report.warnings)


def test_few_videos_and_few_background_windows_are_told(heads: Path, examples: Path, tmp_path: Path) -> None:
    warnings = " ".join(open_head(heads / "moves").manifest.report.warnings)
    assert f"fewer than 8 videos of circle ({EACH}), climb ({EACH}), pulse ({EACH})" in warnings
    assert f"{EACH} background windows cannot show a false-alarm rate of 1.0%" in warnings
    told = teach("moves", examples, tmp_path, "--false-alarms", "0.5")
    assert "cannot show a false-alarm rate" not in told.stderr


def test_unreadable_videos_among_good_ones_are_told_and_left_out(examples: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(examples, tmp_path / "copy")
    (copy / "circle" / "broken.mp4").write_bytes(b"no video")
    (copy / "circle" / "truncated.mp4").write_bytes((copy / "circle" / "circle-1.mp4").read_bytes()[:600])
    os.mkfifo(copy / "climb" / "pipe.mp4")
    told = teach("moves", copy, tmp_path)
    assert told.returncode == 1
    assert told.stderr.count("ERROR") == 3
    head = open_head(tmp_path / "moves")
    assert "3 videos could not be read and were left out" in head.manifest.report.warnings
    assert head.manifest.report.classes[0].videos == EACH


def _one_action(copy: Path) -> None:
    for name in ("climb", "pulse", "background"):
        shutil.rmtree(copy / name)


def _empty(copy: Path) -> None:
    (copy / "new").mkdir()


def _one_video(copy: Path) -> None:
    for path in sorted((copy / "circle").iterdir())[1:]:
        path.unlink()


def _one_that_can_be_read(copy: Path) -> None:
    for path in sorted((copy / "circle").iterdir())[1:]:
        path.write_bytes(b"no video")


def _one_video_twice(copy: Path) -> None:
    _one_video(copy)
    shutil.copy(copy / "circle" / "circle-0.mp4", copy / "circle" / "again.mp4")


def _same_video(copy: Path) -> None:
    shutil.copy(copy / "circle" / "circle-0.mp4", copy / "climb" / "again.mp4")


def _called_unknown(copy: Path) -> None:
    (copy / "circle").rename(copy / "unknown")


def _twice(copy: Path) -> None:
    shutil.copytree(copy / "circle", copy / "Circle")


def _too_many(copy: Path) -> None:
    for number in range(4_100):
        (copy / str(number)).mkdir()
        (copy / str(number) / "1.mp4").touch()


def _long_name(copy: Path) -> None:
    (copy / "circle").rename(copy / "circle\n")


def _head_in_the_way(copy: Path) -> None:
    (copy.parent / "heads" / "moves").mkdir(parents=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_one_action, "holds 1 action and no background, so there is nothing to tell apart"),
        (_empty, "there is no video in"),
        (_one_video, "action 'circle' has 1 video; at least 2 are needed"),
        (_one_that_can_be_read, "action 'circle' has, of those that could be read and differ, 1 video"),
        (_one_video_twice, "action 'circle' has, of those that could be read and differ, 1 video"),
        (_same_video, "are the same video"),
        (_called_unknown, "an action cannot be called 'unknown'"),
        (_twice, "the actions 'Circle' and 'circle' look the same"),
        (_too_many, "there are 4103 actions; accepted: up to 4096"),
        (_long_name, "an action cannot be called 'circle\\n'"),
        (_head_in_the_way, "exists and is no head"),
    ],
)
def test_what_cannot_be_taught_takes_one_line_and_leaves_nothing(
    change: Callable[[Path], None], told: str, examples: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(examples, tmp_path / "copy")
    change(copy)
    ended = teach("moves", copy, tmp_path / "heads")
    assert ended.returncode == 2
    last = ended.stderr.splitlines()[-1]
    assert told in last
    assert "; help: " in last
    assert all("could not be read" in line or "cannot read" in line for line in ended.stderr.splitlines()[:-1])
    assert [path for path in (tmp_path / "heads").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["all", "-", "../door", "a b", ".door", "x" * 65])
def test_a_name_that_no_head_can_have_is_refused(name: str, examples: Path, tmp_path: Path) -> None:
    ended = teach("--json", examples, tmp_path, "--", name) if name == "-" else teach(name, examples, tmp_path)
    assert ended.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_without_features_is_refused(examples: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(DEMO, tmp_path / "former"))
    former = msgspec.structs.replace(read_manifest(bundle), features=msgspec.UNSET).sealed()
    (bundle / manifests.FILE_NAME).write_bytes(manifests.encode(former))
    ended = teach("moves", examples, tmp_path / "heads", "--bundle", bundle)
    assert ended.returncode == 2
    assert "was exported without features; help: export it again" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "heads").exists()


def test_ctrl_c_leaves_nothing_half_made(examples: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "teaching", "moves", examples, "--bundle", DEMO, "--json"]
    command += ["--heads", tmp_path / "heads", "--cache", tmp_path / "cache"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["step"] == "videos"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == ""
    assert not (tmp_path / "heads").exists()
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")] == []
