"""``python -m archive VIDEO|DIR... [options]``, which ``just label`` runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from archive.program import run_program

if TYPE_CHECKING:
    from rich.console import Console

    from archive.config.settings import Settings

_NEEDED = ("fsspec", "pyarrow", "rich")


def main() -> int:
    """Label the videos of the command line and return the exit code."""
    return run_program(_parse, _label, _needed)


def _parse() -> Settings:
    from archive.config.flags import parse_settings

    return parse_settings()


def _label(settings: Settings, console: Console) -> int:
    from archive.pipeline import run

    return run(settings, console)


def _needed(settings: Settings) -> tuple[str, tuple[str, ...]]:
    return ("archive", _NEEDED) if settings.ray is None else ("ray", (*_NEEDED, "ray"))


if __name__ == "__main__":
    sys.exit(main())
