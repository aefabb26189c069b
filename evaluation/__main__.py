"""``python -m evaluation DIR [options]``, which ``just evaluate`` runs."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from archive.program import run_program

if TYPE_CHECKING:
    from rich.console import Console

    from evaluation.config.settings import Settings


def main() -> int:
    """Evaluate what the command line names and return the exit code."""
    return run_program(_parse, _evaluate, _needed)


def _parse() -> Settings:
    from evaluation.config.flags import parse_settings

    return parse_settings()


def _evaluate(settings: Settings, console: Console) -> int:
    from evaluation.pipeline import run

    # A line for each of a thousand short videos would hide what matters.
    logging.getLogger("archive.decoding").setLevel(logging.WARNING)
    return run(settings, console)


def _needed(settings: Settings) -> tuple[str, tuple[str, ...]]:
    return "teach", ("fsspec", "matplotlib", "rich", "scipy")


if __name__ == "__main__":
    sys.exit(main())
