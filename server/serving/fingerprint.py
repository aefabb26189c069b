"""Tells whether the files of a directory have changed, without reading them."""

from __future__ import annotations

from pathlib import Path

Fingerprint = tuple[tuple[str, int, int, int], ...]


def fingerprint(path: Path) -> Fingerprint:
    """Name, inode, size in bytes and modification time in nanoseconds of each file; empty if ``path`` is unreadable.

    Hidden files are no part of a bundle or a head: runtimes keep caches there, and manifests are written there first. A
    file that cannot be seen, such as a link whose target is gone, has zeros, so that the others are still compared.
    """
    try:
        files = sorted(file for file in path.iterdir() if not file.name.startswith("."))
        return tuple((file.name, *_state(file)) for file in files)
    except OSError:
        return ()


def _state(file: Path) -> tuple[int, int, int]:
    try:
        stat = file.stat()
    except OSError:
        return 0, 0, 0
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
