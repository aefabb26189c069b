"""The command as it is used: labelled videos in; figures, pictures and exit codes out."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("scipy")

from PIL import Image

from engines import manifest as manifests
from engines.storage.bundle import DEMO, read_manifest
from export.demo.labels import LABELS
from export.demo.rendering.clips import render_clip
from export.demo.rendering.scenery import Scenery
from tests.archive.recordings import write_frames
from tests.heads import constant_head
from tests.in_process import run_here

ACTIONS = LABELS[:4]
EACH = 3


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["VJEPA_ANSWERS"] = str(tmp_path_factory.mktemp("answers"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of each of four actions; one is a directory of images, and one shows the action of another."""
    directory = tmp_path_factory.mktemp("videos")
    for number, action in enumerate(ACTIONS):
        for each in range(EACH):
            shown = ACTIONS[0] if (number, each) == (3, 2) else action
            frames = render_clip(100 * number + each, shown, frames=60, size=(120, 160), scenery=Scenery.PLAIN).frames
            path = directory / action / f"{each}.mp4"
            path.parent.mkdir(exist_ok=True)
            if each == 1:
                _write_images(path.with_suffix(""), frames[::4])
            else:
                write_frames(path, frames)
    return directory


@pytest.fixture(scope="module")
def swapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo with its first two labels exchanged, so that it is wrong on their videos."""
    path = Path(shutil.copytree(DEMO, tmp_path_factory.mktemp("bundles") / "swapped"))
    manifest = read_manifest(path)
    first, second, *others = manifest.labels
    altered = msgspec.structs.replace(manifest, labels=(second, first, *others)).sealed()
    (path / manifests.FILE_NAME).write_bytes(manifests.encode(altered))
    return path


def _write_images(directory: Path, frames: np.ndarray) -> None:
    directory.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(directory / f"{number}.png")


def evaluate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_here("evaluation", *map(str, arguments))


def test_figures_are_those_of_the_answers(videos: Path, tmp_path: Path) -> None:
    ended = evaluate(videos, "--out", tmp_path, "--json", "--bundle", DEMO)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report == json.loads((tmp_path / "report.json").read_text())
    with (tmp_path / "videos.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(ACTIONS) * EACH
    wrong = [row for row in rows if row["action"] != row["answer"]]
    assert [(row["action"], row["answer"]) for row in wrong] == [(ACTIONS[3], ACTIONS[0])]
    [subject] = report["subjects"]
    assert (subject["top1"]["count"], subject["top1"]["total"]) == (11, 12)
    assert (subject["top1"]["low"], subject["top1"]["high"]) == pytest.approx(_wilson(11, 12), abs=1e-6)
    assert subject["actions"][ACTIONS[3]]["count"] == EACH - 1
    assert subject["confused"] == [{"shown": ACTIONS[3], "answered": ACTIONS[0], "videos": 1}]
    assert subject["calibration"]["error"] == pytest.approx(_calibration_error(rows), abs=1e-5)
    for name in ("confusion.png", "reliability.png"):
        assert Image.open(tmp_path / name).width > 400


def _wilson(count: int, total: int) -> tuple[float, float]:
    z, share = 1.959964, count / total
    middle = share + z**2 / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return (middle - half) / (1 + z**2 / total), (middle + half) / (1 + z**2 / total)


def _calibration_error(rows: list[dict[str, str]]) -> float:
    bins: dict[int, list[tuple[float, int]]] = {}
    for row in rows:
        bins.setdefault(int(float(row["confidence"]) * 10), []).append((float(row["confidence"]), int(row["right"])))
    gaps = [abs(sum(right for _, right in each) - sum(confidence for confidence, _ in each)) for each in bins.values()]
    return sum(gaps) / len(rows)


def test_bundles_are_compared_on_the_same_videos(videos: Path, swapped: Path) -> None:
    ended = evaluate(videos, "--bundle", DEMO, "--bundle", swapped, "--json")
    report = json.loads(ended.stdout)
    [comparison] = report["comparisons"]
    # The last video of the fourth action shows the first, which the altered bundle calls the second.
    assert (comparison["only_first"], comparison["only_second"]) == (2 * EACH, 0)
    assert comparison["p"] == pytest.approx(2 * 0.5 ** (2 * EACH))
    assert comparison["sentence"].startswith("demo is more often right than swapped")


def test_the_tables_name_views_intervals_and_what_was_confused(videos: Path) -> None:
    ended = evaluate(videos, "--bundle", DEMO)
    text = " ".join(ended.stdout.split())
    assert "12 videos, one view" in text
    assert "91.7 %" in text
    assert f"demo: {ACTIONS[3]!r} was answered with {ACTIONS[0]!r} 1 times" in text


def test_several_views_answer_with_their_mean(videos: Path, tmp_path: Path) -> None:
    ended = evaluate(videos, "--bundle", DEMO, "--views", "2x3", "--out", tmp_path, "--json")
    report = json.loads(ended.stdout)
    assert report["views"] == "2 x 3 views (2 segments, 3 crops each)"
    assert report["subjects"][0]["top1"]["count"] >= 10


def test_a_head_is_evaluated_by_its_labels_and_background_should_be_unknown(videos: Path, tmp_path: Path) -> None:
    constant_head(tmp_path / "heads" / "door", (ACTIONS[0], ACTIONS[1]), 0.9)
    labelled = tmp_path / "videos"
    for action, name in ((ACTIONS[0], ACTIONS[0]), (ACTIONS[1], ACTIONS[1]), (ACTIONS[2], "background")):
        shutil.copytree(videos / action, labelled / name)
    arguments = (labelled, "--bundle", DEMO, "--head", "door", "--heads", tmp_path / "heads", "--json")
    [subject] = json.loads(evaluate(*arguments).stdout)["subjects"]
    assert subject["name"] == "demo + door"
    assert {action: each["share"] for action, each in subject["actions"].items()} == {
        ACTIONS[0]: 1.0,
        ACTIONS[1]: 0.0,
        "background": 0.0,
    }


def test_the_files_of_something_something_are_understood(videos: Path, tmp_path: Path) -> None:
    shutil.copy(videos / ACTIONS[0] / "0.mp4", tmp_path / "7.webm")
    annotations = [
        {"id": "7", "label": "pushing a cup", "template": ACTIONS[0].replace("something", "[something]")},
        {"id": "8", "label": "gone", "template": ACTIONS[1]},
    ]
    (tmp_path / "validation.json").write_text(json.dumps(annotations))
    ended = evaluate(tmp_path, "--annotations", tmp_path / "validation.json", "--bundle", DEMO, "--json")
    assert json.loads(ended.stdout)["subjects"][0]["top1"]["count"] == 1
    assert "videos are missing" in ended.stderr


def test_unreadable_videos_among_good_ones_are_told_and_left_out(videos: Path, tmp_path: Path) -> None:
    shutil.copytree(videos / ACTIONS[0], tmp_path / ACTIONS[0])
    (tmp_path / ACTIONS[0] / "broken.mp4").write_bytes(b"no video")
    os.mkfifo(tmp_path / ACTIONS[0] / "pipe.mp4")
    ended = evaluate(tmp_path, "--bundle", DEMO, "--json")
    assert ended.returncode == 1
    report = json.loads(ended.stdout)
    assert (report["videos"], len(report["unreadable"])) == (EACH, 2)
    assert ended.stderr.count("ERROR") == 2


def test_answers_are_kept_by_the_content_of_the_videos(videos: Path, tmp_path: Path) -> None:
    arguments = ("--bundle", DEMO, "--json", "--cache", tmp_path / "answers")
    first = json.loads(evaluate(videos, *arguments).stdout)
    copy = shutil.copytree(videos, tmp_path / "copy")
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "answers").iterdir()}
    (tmp_path / "answers" / min(kept)).write_bytes(b"damaged")
    second = json.loads(evaluate(copy, *arguments).stdout)
    assert {path.name for path in (tmp_path / "answers").iterdir()} == kept.keys()
    assert first["subjects"] == second["subjects"]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ((), "holds no directory, so no action"),
        (("empty/",), "there is no video in"),
        (("Moving something upp/1.mp4",), "did you mean Moving something up?"),
    ],
)
def test_odd_directories_take_one_line(made: tuple[str, ...], told: str, tmp_path: Path) -> None:
    for each in made:
        path = tmp_path / each
        (path if each.endswith("/") else path.parent).mkdir(parents=True)
        if not each.endswith("/"):
            path.write_bytes(b"")
    ended = evaluate(tmp_path, "--bundle", DEMO)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert told in ended.stderr
    assert "help:" in ended.stderr
