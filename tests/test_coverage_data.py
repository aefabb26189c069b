"""Coverage of processes that were killed while they wrote it does not fail the run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import coverage

from tests.coverage_data import remove_incomplete_data


def _written(path: Path) -> Path:
    data = coverage.CoverageData(str(path))
    data.add_lines({f"/module_{number}.py": range(number) for number in range(500)})
    data.write()
    data.close()
    return path


def test_incomplete_data_is_removed_and_the_rest_can_be_combined(tmp_path: Path) -> None:
    whole = _written(tmp_path / ".coverage.whole")
    content = whole.read_bytes()
    (tmp_path / ".coverage.empty").touch()
    (tmp_path / ".coverage.cut").write_bytes(content[: len(content) // 2])
    (tmp_path / ".coverage.damaged").write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with closing(sqlite3.connect(_written(tmp_path / ".coverage.without_a_table"))) as data:
        data.execute("drop table arc")
    remove_incomplete_data(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [whole.name]
    combined = coverage.Coverage(data_file=str(tmp_path / ".coverage"))
    combined.combine([str(tmp_path)], strict=True)
    assert len(combined.get_data().measured_files()) == 500
