"""Recordings labelled by a running service, and by heads."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow")

import pyarrow.parquet as pq

from engines.storage.bundle import DEMO
from export.demo.show import SAMPLE, SAMPLE_LABEL
from tests.archive.recordings import write_recording
from tests.heads import constant_head
from tests.in_process import run_here
from tests.live_server import LiveServer, serving

HEAD_LABELS = ("opens", "closes")


def label(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_here("archive", *map(str, arguments))


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recorded") / "one.mp4"
    write_recording(path, seed=3, actions=2)
    return path


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("heads")
    constant_head(directory / "door", HEAD_LABELS, 0.9)
    constant_head(directory / "other", HEAD_LABELS, 0.9, features="0" * 64)
    return directory


@pytest.fixture(scope="module")
def service(heads: Path) -> Iterator[LiveServer]:
    # Few requests a second, so that some are refused and sent again.
    with serving(DEMO, "--heads", str(heads), "--rate-limit", "10/second") as server:
        yield server


def _table(out: Path) -> dict[str, list[object]]:
    found: dict[str, list[object]] = pq.read_table(next(out.glob("*.parquet"))).to_pydict()
    return found


def test_a_service_labels_as_an_engine_does(recording: Path, service: LiveServer, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert label(recording, "--out", here, "--bundle", DEMO).returncode == 0
    ended = label(recording, "--out", there, "--service", service.url)
    assert ended.returncode == 0, ended.stderr
    one, other = _table(here), _table(there)
    np.testing.assert_allclose(np.stack(one.pop("scores")), np.stack(other.pop("scores")), atol=1e-6)
    np.testing.assert_allclose(one.pop("confidence"), other.pop("confidence"), atol=1e-6)
    assert one == other


def test_a_service_goes_on_where_an_engine_has_stopped(recording: Path, service: LiveServer, tmp_path: Path) -> None:
    assert label(recording, "--out", tmp_path, "--bundle", DEMO).returncode == 0
    shutil.copy(recording, tmp_path / "two.mp4")
    ended = label(recording, tmp_path / "two.mp4", "--out", tmp_path, "--service", service.url)
    assert "there_before=1" in ended.stderr


def test_refused_windows_are_sent_again(recording: Path, service: LiveServer, tmp_path: Path) -> None:
    before = len(service.entries("request"))
    assert label(recording, "--service", service.url, "--stride", "2").returncode == 0
    statuses = [entry["status"] for entry in service.entries("request")[before:]]
    assert {200, 429} <= set(statuses)


@pytest.mark.parametrize("where", ["engine", "service"])
def test_a_head_labels_in_place_of_the_model(where: str, heads: Path, service: LiveServer, tmp_path: Path) -> None:
    model = ("--bundle", DEMO, "--heads", heads) if where == "engine" else ("--service", service.url)
    ended = label(SAMPLE, "--out", tmp_path, "--head", "door", *model)
    assert ended.returncode == 0, ended.stderr
    table = _table(tmp_path)
    assert set(table["label"]) == {"opens"}
    assert set(table["head"]) == {"door"}
    assert table["scores"][0] == pytest.approx([0.9, 0.1, 0.0])
    ended = label(SAMPLE, "--out", tmp_path, "--bundle", DEMO)
    assert ended.returncode == 2
    assert "with the head door" in ended.stderr


def test_labels_of_a_head_are_printed(heads: Path) -> None:
    ended = label(SAMPLE, "--bundle", DEMO, "--heads", heads, "--head", "door", "--format", "json")
    assert json.loads(ended.stdout)["segments"][0]["label"] == "opens"
    assert SAMPLE_LABEL not in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--head", "nowhere"), "lacks head.json"),
        (("--head", "other"), "was taught on another network"),
        (("--service", "http://127.0.0.1:9"), "did not answer"),
        (("--service", "127.0.0.1"), "is no URL"),
        (("--service", "http://127.0.0.1:9", "--device", "cpu"), "exclude each other"),
    ],
)
def test_a_model_that_cannot_label_takes_one_line(arguments: tuple[str, ...], told: str, heads: Path) -> None:
    ended = label(SAMPLE, "--heads", heads, *arguments)
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_head_that_the_service_lacks_is_named_with_those_it_has(service: LiveServer) -> None:
    ended = label(SAMPLE, "--service", service.url, "--head", "window")
    assert ended.returncode == 2
    assert "serves no head 'window'" in ended.stderr
    assert "its heads: door" in ended.stderr
