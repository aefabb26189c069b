"""``python -m consumer SOURCE... [options]``."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

INTERRUPTED = 130
"""The exit code that shells use for a program ended by Ctrl-C (128 + SIGINT)."""

BROKEN_PIPE = 141
"""The exit code that shells use for a program ended by a closed output pipe (128 + SIGPIPE)."""


def main() -> NoReturn:
    """Run the consumer with the options of the command line, then exit the process."""
    try:
        code = _consume()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # The program that read our standard output has closed it.
        code = BROKEN_PIPE
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _flush()
    # A normal interpreter exit would wait for reader threads, and FFmpeg in them may be waiting for a camera.
    os._exit(code)


def _consume() -> int:
    # These imports take half a second; here inside main()'s try block, Ctrl-C shows no traceback during them.
    import logging

    from consumer.config.flags import parse_settings
    from consumer.errors import ConsumerError
    from consumer.output.log import configure_log
    from consumer.pipeline import run

    try:
        settings = parse_settings(sys.argv[1:], os.environ)
    except SystemExit as end:
        return int(end.code or 0)
    configure_log(settings.output.log_format)
    try:
        return run(settings)
    except ConsumerError as error:
        logging.getLogger(__name__).error(str(error))
        return error.exit_code


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue


if __name__ == "__main__":
    main()
