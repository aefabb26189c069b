"""What processes that were killed leave of their coverage; combining it would end the whole run with an error."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

# What ``coverage combine`` reads.
_TABLES = {"arc", "context", "coverage_schema", "file", "line_bits", "meta", "tracer"}


def remove_incomplete_data(directory: Path) -> None:
    """Delete each data file of coverage in ``directory`` whose process was killed while it wrote the file."""
    for path in directory.glob(".coverage.*"):
        if not _is_complete(path):
            path.unlink(missing_ok=True)


def _is_complete(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path)) as data:
            tables = {name for (name,) in data.execute("select name from sqlite_master")}
            return tables >= _TABLES and data.execute("pragma quick_check").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        return False
