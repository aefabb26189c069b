"""``python -m archive VIDEO|DIR... [options]``, which ``just label`` runs."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from typing import NoReturn

from commandline.extras import install_command

_INTERRUPTED = 130
"""The exit code that shells use for a program ended by Ctrl-C (128 + SIGINT)."""

_BROKEN_PIPE = 141
"""The exit code that shells use for a program ended by a closed output pipe (128 + SIGPIPE)."""

_NEEDED = ("fsspec", "pyarrow", "rich")


def main() -> NoReturn:
    """Label the videos of the command line, then exit the process."""
    try:
        code = _label()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BrokenPipeError:
        code = _BROKEN_PIPE
    logging.shutdown()
    # The usual end of the interpreter waits for all threads, and one of them may be in an engine that hangs.
    os._exit(code)


def _label() -> int:
    # These imports take a while; here inside main()'s try block, Ctrl-C shows no traceback during them.
    from archive.config.flags import parse_settings
    from archive.errors import ArchiveError
    from engines.errors import BundleError, ConfigurationError, ServiceError

    try:
        settings = parse_settings()
    except SystemExit as end:
        return int(end.code or 0)
    missing = [name for name in (*_NEEDED, *(("ray",) if settings.ray is not None else ())) if not _installed(name)]
    if missing:
        extra = "ray" if missing == ["ray"] else "archive"
        print(f"ERROR {', '.join(missing)} not installed\nhelp: {install_command(extra)}", file=sys.stderr)
        return 2
    from rich.console import Console

    from archive.output.log import configure_log
    from archive.pipeline import run

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
        return 2 if isinstance(error, (BundleError, ConfigurationError)) else 1


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


if __name__ == "__main__":
    main()
