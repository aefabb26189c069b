"""Writes a directory aside and renames it when it is complete, so that it is never seen half-written."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A hidden directory beside ``output`` that replaces it when the block succeeds and is removed when it fails.

    Raises OSError if ``output`` cannot be written.
    """
    staging = Path(tempfile.mkdtemp(prefix=f".{output.name}.", suffix=".partial", dir=output.parent))
    try:
        yield staging
        staging.chmod(0o755)
        _replace(output, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace(output: Path, staging: Path) -> None:
    if not output.exists():
        staging.rename(output)
        return
    replaced = output.with_name(f"{staging.name}.replaced")
    output.rename(replaced)
    staging.rename(output)
    shutil.rmtree(replaced)
