"""The commands as this user can type them, for usage, hints and help.

The same program is started as ``.venv/bin/just serve``, as ``vjepa serve`` or as ``python -m server``. A hint names
every command in the way in which the user started the program that gives the hint.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

STARTED_BY = "VJEPA_STARTED_BY"
"""The environment variable that holds the path of the ``just`` or ``vjepa`` that started this process."""

MODULES = {
    "serve": "server",
    "export": "export",
    "consume": "consumer",
    "label": "archive",
    "teach": "teaching",
    "evaluate": "evaluation",
    "demo": "export.demo.show",
    "doctor": "vjepa.doctor",
}


def command(program: str, *words: str) -> str:
    """The command line that starts ``program``, a key of ``MODULES``, with the arguments ``words``."""
    return shlex.join((*_start_of(program), *words))


def _start_of(program: str) -> Iterator[str]:
    if started_by := os.environ.get(STARTED_BY):
        yield from (typed(Path(started_by)), program)
    else:
        yield from (typed(Path(sys.executable)), "-m", MODULES[program])


def typed(path: Path) -> str:
    """``path`` as a user types it: only its name where the shell finds it, else relative to the directory if inside."""
    found = shutil.which(path.name)
    if found is not None and Path(found) == path:
        return path.name
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
