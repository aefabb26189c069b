"""What the export is doing, and how long each stage took: a spinner on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console

_console = Console(stderr=True, highlight=False)


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Show ``name`` while the block runs and its seconds when it has ended well."""
    started_s = time.perf_counter()
    with _console.status(f"{name} ..."):
        yield
    _console.print(f"{name:<16} {time.perf_counter() - started_s:6.1f} s")
