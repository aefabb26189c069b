"""A container's CPU quota, as the kernel writes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines.cores import cgroup_cores, usable_cores


@pytest.mark.parametrize(
    ("content", "cores"), [("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("max 100000", None)]
)
def test_the_quota_is_rounded_up_to_whole_cores(tmp_path: Path, content: str, cores: int | None) -> None:
    (tmp_path / "cpu.max").write_text(content + "\n")
    assert cgroup_cores(tmp_path / "cpu.max") == cores


def test_missing_quota_file_means_no_quota(tmp_path: Path) -> None:
    assert cgroup_cores(tmp_path / "cpu.max") is None


def test_usable_cores_are_within_the_machine() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
