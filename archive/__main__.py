"""``python -m archive VIDEO|DIR... [options]``, which ``just label`` runs."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys

from commandline.extras import install_command

_INTERRUPTED = 130
"""The exit code that shells use for a program ended by Ctrl-C (128 + SIGINT)."""

_BROKEN_PIPE = 141
"""The exit code that shells use for a program ended by a closed output pipe (128 + SIGPIPE)."""

_NEEDED = ("fsspec", "pyarrow", "rich")


def main() -> int:
    """Label the videos of the command line and return the exit code."""
    try:
        code = _label()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes standard output once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    return code


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
    sys.exit(main())
