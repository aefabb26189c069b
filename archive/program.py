"""Runs a command that works on recordings: its exit codes, its log, and one line for each expected error."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from commandline.extras import install_command

if TYPE_CHECKING:
    from rich.console import Console

_INTERRUPTED = 130
"""The exit code that shells use for a program ended by Ctrl-C (128 + SIGINT)."""

_BROKEN_PIPE = 141
"""The exit code that shells use for a program ended by a closed output pipe (128 + SIGPIPE)."""

S = TypeVar("S")


def run_program(
    parse: Callable[[], S], run: Callable[[S, Console], int], needed: Callable[[S], tuple[str, Sequence[str]]]
) -> int:
    """Run ``run`` with the settings that ``parse`` reads, and return the exit code.

    ``needed`` gives an extra and the modules of it that these settings need. Both functions should import what they use
    themselves: imports take a while, and Ctrl-C during them shows no traceback here.
    """
    try:
        code = _run(parse, run, needed)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes standard output once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    return code


def _run(
    parse: Callable[[], S], run: Callable[[S, Console], int], needed: Callable[[S], tuple[str, Sequence[str]]]
) -> int:
    from archive.errors import ArchiveError
    from engines.errors import BundleError, ConfigurationError, HeadError, ServiceError

    try:
        settings = parse()
    except SystemExit as end:
        return int(end.code or 0)
    extra, names = needed(settings)
    if missing := [name for name in names if importlib.util.find_spec(name) is None]:
        sys.stderr.write(f"ERROR {', '.join(missing)} not installed\nhelp: {install_command(extra)}\n")
        return 2
    from rich.console import Console

    from archive.output.log import configure_log

    console = Console(stderr=True)
    configure_log(console)
    log = logging.getLogger("archive")
    try:
        return run(settings, console)
    except ArchiveError as error:
        log.error(str(error))
        return 2
    except ServiceError as error:
        log.error(str(error))
        return 2 if isinstance(error, (BundleError, ConfigurationError, HeadError)) else 1
