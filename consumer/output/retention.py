"""Deletes the oldest of the files that the consumer saved, by age and by size."""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

# The time of a live clip or the second of a recording, as `file_name` writes them: other files are left alone.
_OURS = re.compile(r"_(\d{8}T\d{6}\.\d{3}Z|\d{6,}\.\d{3}s)_[A-Za-z0-9-]*\.(mp4|mkv)")


@dataclass(frozen=True, slots=True)
class Retention:
    """How long saved files are kept, and how many bytes of them in one directory; ``None`` means without limit."""

    keep_days: float | None = None
    keep_mb: float | None = None

    def apply(self, directory: Path) -> int:
        """Delete what is too old, then the oldest files until the others fit; returns how many were deleted."""
        if self.keep_days is None and self.keep_mb is None:
            return 0
        oldest_s = 0.0 if self.keep_days is None else time.time() - self.keep_days * 86_400
        room = float("inf") if self.keep_mb is None else self.keep_mb * 1e6
        deleted = 0
        for modified_s, size, path in _newest_first(directory):
            room -= size
            if modified_s < oldest_s or room < 0:
                path.unlink(missing_ok=True)
                deleted += 1
        return deleted


def _newest_first(directory: Path) -> list[tuple[float, int, Path]]:
    found = []
    for path in directory.iterdir():
        # Another consumer may delete files of the same directory.
        with contextlib.suppress(FileNotFoundError):
            if _OURS.search(path.name):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
    return sorted(found, reverse=True)
