"""Lines for the program that reads the consumer's standard output."""

from __future__ import annotations

import os
import select
import stat
import sys

from consumer.errors import OutputError


def write_line(line: str) -> None:
    """Write a line at once; raises BrokenPipeError if its reader has gone, OutputError if it cannot be written."""
    if sys.stdout is None:
        raise _unwritable("it is closed")
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise _unwritable(str(error)) from error


def check_standard_output() -> None:
    """Raise the errors of ``write_line`` before there is anything to write, as far as they can be foreseen."""
    if sys.stdout is None:
        raise _unwritable("it is closed")
    try:
        file = sys.stdout.fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(file).st_mode)
    except (OSError, ValueError):
        return
    if is_pipe and hasattr(select, "poll"):
        poll = select.poll()
        poll.register(file, 0)
        # A pipe without a reader reports an error, whatever is asked for.
        if any(event & select.POLLERR for _, event in poll.poll(0)):
            raise BrokenPipeError


def _unwritable(reason: str) -> OutputError:
    return OutputError(f"cannot write to stdout: {reason}", "send it to a file or program that can take it")
