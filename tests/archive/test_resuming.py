"""A run that was killed goes on where it was, on any file system."""

from __future__ import annotations

import io
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

import fsspec
import pyarrow.parquet as pq

from export.demo.show import SAMPLE
from tests.archive.kills import differences, killed, undisturbed
from tests.archive.recordings import write_recording
from tests.in_process import run_here


def test_killed_runs_end_with_the_rows_of_an_undisturbed_one(tmp_path: Path) -> None:
    """A hundred videos and twenty kills: ``python -m tests.archive.kills``."""
    videos, whole, out = tmp_path / "videos", tmp_path / "whole", tmp_path / "killed"
    videos.mkdir()
    for seed in range(5):
        write_recording(videos / f"{seed}.mp4", seed, actions=1)
    took_s = undisturbed(videos, whole)
    assert killed(videos, out, 3, took_s, 1) == 0
    assert len(list(out.glob("*.parquet"))) == 5
    assert differences(whole, out) == []


@pytest.fixture
def bucket() -> Iterator[str]:
    """The URL of an empty directory in the memory of this process."""
    url = f"memory://{uuid.uuid4()}"
    yield url
    fsspec.filesystem("memory").rm(url, recursive=True)


def test_a_bucket_is_labelled_as_a_directory_is(bucket: str, tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    for name in ("a.mp4", "below/b.mp4"):
        files.pipe(f"{bucket}/videos/{name}", SAMPLE.read_bytes())
    files.pipe(f"{bucket}/videos/c.mp4", b"no video")
    files.pipe(f"{bucket}/videos/notes.txt", b"no video")
    ended = run_here("archive", f"{bucket}/videos", "--out", f"{bucket}/out", "--format", "json")
    assert ended.returncode == 1
    assert "videos=3 there_before=0 failed=1 windows=2" in ended.stderr
    (tmp_path / "videos/below").mkdir(parents=True)
    for name in ("a.mp4", "below/b.mp4"):
        shutil.copy(SAMPLE, tmp_path / "videos" / name)
    assert run_here("archive", str(tmp_path / "videos"), "--out", str(tmp_path / "out")).returncode == 0
    for name in ("a.mp4", "below/b.mp4"):
        here = pq.read_table(tmp_path / "out" / f"{name}.parquet").drop(["video"])
        there = pq.read_table(io.BytesIO(files.cat(f"{bucket}/out/{name}.parquet"))).drop(["video"])
        assert here.to_pylist() == there.to_pylist()
    (failure,) = [json.loads(line) for line in files.cat(f"{bucket}/out/failures.jsonl").splitlines()]
    assert failure["video"] == f"{bucket}/videos/c.mp4"
    found = [path for path in files.find(f"{bucket}/out") if ".partial" in path]
    assert found == []
    again = run_here("archive", f"{bucket}/videos", "--out", f"{bucket}/out", "--format", "json")
    assert "videos=3 there_before=2 failed=1 windows=0" in again.stderr


def test_a_file_of_a_bucket_that_is_not_there_fails_alone(bucket: str) -> None:
    fsspec.filesystem("memory").pipe(f"{bucket}/a.mp4", SAMPLE.read_bytes())
    ended = run_here("archive", f"{bucket}/a.mp4", f"{bucket}/b.mp4", "--format", "csv")
    assert ended.returncode == 1
    assert len(ended.stdout.splitlines()) == 2
    assert f"cannot read {bucket}/b.mp4" in ended.stderr


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = run_here("archive", str(SAMPLE), "--out", str(tmp_path / "file"))
    assert ended.returncode == 2
    assert "cannot write to" in ended.stderr


def test_a_damaged_result_is_named_when_it_is_needed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_here("archive", str(SAMPLE), "--out", str(out)).returncode == 0
    (out / "sample.mp4.parquet").write_bytes(b"damaged")
    ended = run_here("archive", str(SAMPLE), "--out", str(out), "--format", "csv")
    assert ended.returncode == 2
    assert "cannot read sample.mp4.parquet" in ended.stderr
    assert "delete it to label it again" in ended.stderr
