"""The file of API keys, read without trust in what is in its place."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from engines.errors import ConfigurationError

MAX_BYTES = 2**20

# Inode, size in bytes, and the times of the last change of the content and of the rights, in nanoseconds.
Stamp = tuple[int, int, int, int]


def stamp_of(path: Path) -> Stamp | None:
    """What differs after a change of the file; None if it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read_keys(path: Path) -> list[str]:
    """The keys, one per line; blank lines and lines that begin with ``#`` are left out. The list may be empty.

    Raises:
        ConfigurationError: not readable, no regular file, longer than ``MAX_BYTES``, or not UTF-8.
    """
    try:
        text = _content(path).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise _unusable(path, reason or str(error)) from None
    # Editors on Windows begin a file with a byte order mark, which belongs to no key.
    lines = (line.strip() for line in text.replace("\ufeff", "").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _content(path: Path) -> bytes:
    """Raises OSError or ConfigurationError."""
    # Opening a pipe waits for its writer, unless it may not block.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _unusable(path, "it is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise _unusable(path, f"it has more than {MAX_BYTES} bytes")
    return content


def _unusable(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"cannot read the keys in {path}: {reason}", help="name a text file with one key per line"
    )
