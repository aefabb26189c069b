"""``python -m teaching NAME DIR [options]``, which ``just teach`` runs."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from archive.program import run_program

if TYPE_CHECKING:
    from rich.console import Console

    from teaching.config.settings import Settings


def main() -> int:
    """Teach the head of the command line and return the exit code."""
    return run_program(_parse, _teach, _needed)


def _parse() -> Settings:
    from teaching.config.flags import parse_settings

    return parse_settings()


def _teach(settings: Settings, console: Console) -> int:
    from teaching.pipeline import run

    # A line for each short video would hide what matters.
    logging.getLogger("archive.decoding").setLevel(logging.WARNING)
    return run(settings, console)


def _needed(settings: Settings) -> tuple[str, tuple[str, ...]]:
    return "teach", ("fsspec", "matplotlib", "rich", "scipy", "sklearn")


if __name__ == "__main__":
    sys.exit(main())
