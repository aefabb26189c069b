"""A decoder process, as the process of the engine sees it."""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
import numpy as np
import numpy.typing as npt

from archive.decoding.job import Ended, Failed, Job, Logged, read_message
from archive.decoding.limits import Limits
from archive.decoding.pipe import PipeReader
from archive.errors import DecoderDiedError, DecoderSilentError
from video.errors import VideoError

logger = logging.getLogger(__name__)

SILENCE_S = 600.0
"""A decoder that sends nothing for so long is ended: no video that can be used takes so long for one window."""

# Linux gives a pipe 64 KiB, less than a window; a larger one lets the decoder work ahead. Unprivileged users get 1 MiB.
_PIPE_BYTES = 2**20

_ROOT = str(Path(__file__).parents[2])

Allocate = Callable[[int, int], npt.NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class DecodedWindow:
    """``frames``: uint8 [T, crop, crop, 3], RGB, of the time from ``start_s`` to ``end_s`` (excluded) of the video.

    ``changes``: T - 1 numbers, see ``archive.decoding.changes``. ``of_s`` is the length of the video in seconds as its
    container states it, if it does.
    """

    frames: npt.NDArray[np.uint8]
    start_s: float
    end_s: float
    changes: tuple[float, ...]
    of_s: float | None


class DecoderProcess:
    """Decodes one video after another in a process of its own, which is started when it is needed.

    ``allocate(height, width)`` gives the memory of a window's frames, as ``Engine.allocate`` does. The process is ended
    when it sends nothing for ``silence_s`` seconds. Whatever happens to it, the next video gets a new one.
    """

    def __init__(self, allocate: Allocate, limits: Limits = Limits(), silence_s: float = SILENCE_S) -> None:  # noqa: B008, it is frozen
        self._allocate = allocate
        self._limits = limits
        self._silence_s = silence_s
        self._process: subprocess.Popen[bytes] | None = None

    def windows(self, job: Job) -> Generator[DecodedWindow]:
        """The windows of ``job`` in their order; they wait in a pipe, so the decoder is never far ahead.

        A caller that does not take all of them ends the process.

        Raises:
            VideoError: the video cannot be read.
            DecoderDiedError, DecoderSilentError: the process ended, or was ended, in the middle of it.
        """
        process = self._started()
        ended = False
        try:
            # One that has just died is noticed when its messages are read.
            with suppress(BrokenPipeError):
                cast(BinaryIO, process.stdin).write(msgspec.json.encode(job) + b"\n")
            yield from self._read(process, job)
            ended = True
        except VideoError:
            ended = True
            raise
        except TimeoutError:
            raise DecoderSilentError(job.name, self._silence_s) from None
        finally:
            if not ended:
                self.close()

    def kill(self) -> None:
        """End the process from another thread than the one that reads; a video under way fails."""
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    cast(BinaryIO, pipe).close()

    def _read(self, process: subprocess.Popen[bytes], job: Job) -> Iterator[DecodedWindow]:
        pipe = PipeReader(cast(BinaryIO, process.stdout).fileno(), self._silence_s)
        while True:
            message = read_message(pipe.read)
            if message is None:
                raise DecoderDiedError(job.name, process.wait())
            if isinstance(message, Ended):
                return
            if isinstance(message, Failed):
                raise VideoError(message.what, message.hint)
            if isinstance(message, Logged):
                logger.log(message.level, message.message, extra=message.fields)
            else:
                frames = self._allocate(job.crop, job.crop)
                if not pipe.fill(frames.reshape(-1).data):
                    raise DecoderDiedError(job.name, process.wait())
                yield DecodedWindow(frames, message.start_s, message.end_s, message.changes, message.of_s)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = _start(self._limits)
        return self._process


def _start(limits: Limits) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "archive.decoding", msgspec.json.encode(limits).decode()]
    # -m looks in the current directory first, where an installed package need not be.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))}
    process = subprocess.Popen(  # noqa: S603 only this package's own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment
    )
    with suppress(AttributeError, OSError):
        fcntl.fcntl(cast(BinaryIO, process.stdout).fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return process
