"""Finds out who may write a file: code is loaded only from where its owner and root alone may write."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from engines.errors import BundleUntrustedError

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_ROOT = 0


def check_writers(files: Iterable[Path]) -> None:
    """Refuse ``files`` that users besides this process's user and root can replace.

    Each file, its directory and the directory that holds that one must belong to these users, and no group and no
    other user may write there. A directory with the sticky bit (``/tmp``) may be written, because nobody can rename or
    remove what belongs to others in it. Symbolic links are followed. Paths that do not exist are skipped.

    Raises:
        BundleUntrustedError: others may write one of them.
    """
    resolved = {file.resolve() for file in files}
    for path in sorted({place for file in resolved for place in (file, *file.parents[:2])}):
        if (why := _why_untrusted(path)) is not None:
            raise BundleUntrustedError(
                f"{path} {why}, and code is loaded from it; accepted: written by this user and root only",
                help=f"`chmod go-w {path}` or `chown`, pin the bundle with --bundle-sha256, or, if you trust all who"
                " may write there, --trust-writable-bundles",
            )


def _why_untrusted(path: Path) -> str | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if found.st_uid not in (_ROOT, os.geteuid()):
        return f"belongs to another user ({found.st_uid})"
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    return "may be written by others" if found.st_mode & _OTHERS_MAY_WRITE and not sticky else None
