"""``python -m consumer SOURCE... [options]``."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

INTERRUPTED = 130
"""What a shell reports of a program that Ctrl-C ended."""

READER_GONE = 141
"""What a shell reports of a program whose output nobody reads any more."""


def main() -> NoReturn:
    """Run the consumer as the command line says, and end the process."""
    try:
        code = _consume()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read --json has gone.
        code = READER_GONE
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _flush()
    # An interpreter that ends in the usual way waits for FFmpeg, which may be waiting for a camera.
    os._exit(code)


def _consume() -> int:
    # Imported only now: it takes half a second, in which Ctrl-C must not show a traceback either.
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
