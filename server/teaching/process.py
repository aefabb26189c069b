"""``python -m teaching`` as a process of its own, whose output is the progress."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence

import msgspec

from commandline.extras import install_command

# Modules of the extra, and the names of what has them.
_NEEDED = {
    "sklearn": "scikit-learn",
    "scipy": "SciPy",
    "matplotlib": "Matplotlib",
    "rich": "Rich",
    "fsspec": "fsspec",
    "av": "PyAV",
}
_NICE = 10
_MOST_ERRORS = 2
_MOST_LINE_BYTES = 4 * 2**20
_MOST_SHOWN_CHARACTERS = 500
_STOP_S = 5


def missing() -> str | None:
    """What has to be installed before anything can be taught, in one line; None if all is there."""
    lacking = [shown for module, shown in _NEEDED.items() if importlib.util.find_spec(module) is None]
    return f"Teaching needs {', '.join(lacking)}: {install_command('teach')}" if lacking else None


class Progress(msgspec.Struct):
    """How far the process is: ``done`` of ``of`` parts of ``step`` (`videos`, then `folds`)."""

    step: str
    done: int
    of: int


class TeachingProcess:
    """A process that teaches; ``progress`` is None before the first part is done.

    It runs at a low priority, so that the engines of the service go first.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.progress: Progress | None = None
        self._process = process
        self._errors: deque[str] = deque(maxlen=_MOST_ERRORS)

    @classmethod
    async def start(cls, arguments: Sequence[str]) -> TeachingProcess:
        """Raises OSError."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "teaching", *arguments, "--json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_MOST_LINE_BYTES,
        )
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
        return cls(process)

    async def finished(self) -> str:
        """Wait for the end; the last lines of its errors, as one. Cancelled, it stops the process."""
        try:
            await asyncio.gather(self._read_progress(), self._read_errors(), self._process.wait())
        finally:
            await self._stop()
        return " ".join(self._errors) or f"the process ended with code {self._process.returncode}"

    async def _read_progress(self) -> None:
        """Lines of other events are those of the report, which is read from the head."""
        async for line in _lines(self._process.stdout):
            with contextlib.suppress(msgspec.DecodeError):
                self.progress = msgspec.json.decode(line, type=Progress)

    async def _read_errors(self) -> None:
        async for line in _lines(self._process.stderr):
            text = line.decode(errors="replace").strip()[:_MOST_SHOWN_CHARACTERS]
            # The time of a line of the log is of no use beside the button.
            if text := text.partition(" ERROR ")[2] or text:
                self._errors.append(text)

    async def _stop(self) -> None:
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


async def _lines(stream: asyncio.StreamReader | None) -> AsyncIterator[bytes]:
    while stream is not None and (line := await stream.readline()):
        yield line
