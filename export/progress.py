"""Shows the current stage and the duration of each: bars and spinners on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import Progress, TaskID

_console = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Print a line that stays on the screen."""
    _console.print(text, soft_wrap=True, markup=False)


@contextlib.contextmanager
def stage(name: str, *, spinner: bool = True) -> Iterator[None]:
    """Show ``name`` while the block runs, and its duration in seconds if it ends without an error."""
    started_s = time.perf_counter()
    with _console.status(f"{name} ...") if spinner else contextlib.nullcontext():
        yield
    say(f"{name:<16} {time.perf_counter() - started_s:6.1f} s")


class Phases:
    """Shows a bar for each phase of a builder that reports its steps; safe to call from any thread."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def start(self, name: str, steps: int) -> None:
        self._tasks[name] = self._progress.add_task(name, total=steps)

    def step(self, name: str, done: int) -> None:
        self._progress.update(self._tasks[name], completed=done)

    def finish(self, name: str) -> None:
        self._progress.remove_task(self._tasks.pop(name))


@contextlib.contextmanager
def phases() -> Iterator[Phases]:
    """Show bars while the block runs and remove them afterwards."""
    with Progress(console=_console, transient=True, disable=not _console.is_terminal) as progress:
        yield Phases(progress)


def peak_memory_bytes() -> int:
    """Return the peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
