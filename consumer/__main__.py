"""``python -m consumer SOURCE [options]``."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
"""What a shell reports of a program that Ctrl-C ended."""

READER_GONE = 141
"""What a shell reports of a program whose output nobody reads any more."""


def main() -> int:
    """Run the consumer as the command line says; returns its exit code."""
    try:
        return _consume()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read --json has gone. Python would complain once more when it flushes stdout at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE


def _consume() -> int:
    # Imported only now: it takes half a second, in which Ctrl-C must not show a traceback either.
    import logging

    from consumer.errors import ConsumerError
    from consumer.log import configure_log
    from consumer.pipeline import run
    from consumer.settings import parse_settings

    settings = parse_settings(sys.argv[1:], os.environ)
    configure_log(settings.log_format)
    try:
        run(settings)
    except ConsumerError as error:
        logging.getLogger(__name__).error(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
