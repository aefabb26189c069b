"""The bundle that an operator has pinned by its name, so that it is served when none is named."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from engines.storage.bundle import BUNDLES

_FILE = ".pinned"


def pinned_bundle(bundles: Path = BUNDLES) -> Path | None:
    """The directory of the bundle that is pinned in ``bundles``, which may be gone; None if none is pinned."""
    try:
        name = (bundles / _FILE).read_text("utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    # A path that is absolute stays as it is: a pinned bundle may be in another directory.
    return bundles / name if name else None


def pin_bundle(path: Path, bundles: Path = BUNDLES) -> None:
    """Pin the bundle in the directory ``path``; raises OSError."""
    resolved = path.resolve()
    name = resolved.name if resolved.parent == bundles.resolve() else str(resolved)
    written = bundles / f"{_FILE}.{os.getpid()}"
    written.write_text(f"{name}\n", "utf-8")
    written.replace(bundles / _FILE)


def unpin_bundle(bundles: Path = BUNDLES) -> None:
    """Let the best bundle be served again; raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        (bundles / _FILE).unlink()
