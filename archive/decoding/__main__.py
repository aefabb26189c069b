"""``python -m archive.decoding [LIMITS]``: a decoder process; jobs come on standard input, a line of JSON each.

Standard output carries the messages of ``archive/decoding/job.py``. ``LIMITS`` is a ``Limits`` in JSON.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import BinaryIO

import msgspec
import numpy as np

from archive.decoding.changes import changes
from archive.decoding.job import Ended, Failed, Found, Job, Logged, write_message
from archive.decoding.limits import Limits
from archive.decoding.windows import read_windows
from video.errors import VideoError

_PLAIN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _MessageLog(logging.Handler):
    """Sends log records to the process of the engine, which may be drawing on the terminal."""

    def __init__(self, output: BinaryIO) -> None:
        super().__init__(logging.INFO)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: value for name, value in vars(record).items() if name not in _PLAIN_ATTRIBUTES}
        told = {name: value if isinstance(value, (int, float)) else str(value) for name, value in fields.items()}
        write_message(self._output, Logged(record.levelno, record.getMessage(), told))


def main() -> None:
    """Work on the jobs until standard input ends."""
    # The terminal sends Ctrl-C to every process; the one of the engine then closes the input of this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = _output()
    logging.basicConfig(level=logging.INFO, handlers=[_MessageLog(output)])
    if sys.argv[1:]:
        msgspec.json.decode(sys.argv[1], type=Limits).apply()
    jobs = msgspec.json.Decoder(Job)
    for line in sys.stdin.buffer:
        try:
            _decode(jobs.decode(line), output)
        except BrokenPipeError:
            # Nobody reads any more.
            return


def _output() -> BinaryIO:
    """Standard output for the messages only: what a library prints goes to standard error."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return output


def _decode(job: Job, output: BinaryIO) -> None:
    try:
        for window, of_s in read_windows(job):
            pixels = np.stack(window.frames)
            found = Found(window.start_s, window.end_s, changes(pixels), of_s)
            write_message(output, found, pixels.reshape(-1).data)
    except VideoError as error:
        write_message(output, Failed(error.what, error.hint))
    except BrokenPipeError:
        raise
    except MemoryError:
        write_message(output, Failed(f"{job.name} needs more memory than a decoder may have", "shrink the video"))
    except Exception as error:  # PyAV raises errors of many kinds for damaged files; one file must not stop the rest
        write_message(output, Failed(f"cannot read {job.name}: {_one_line(error)}", "check that the file is complete"))
    else:
        write_message(output, Ended())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    main()
