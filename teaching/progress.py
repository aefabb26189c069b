"""How far a run is: bars on a terminal, or lines of JSON for a program."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

STEPS = ("videos", "folds")


def print_line(event: str, **fields: Any) -> None:
    """Print a line of JSON for a program."""
    line = msgspec.json.encode({"event": event, **fields}).decode()
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Steps:
    """The progress of the ``STEPS``, one after the other, as bars of ``console`` or, with ``lines``, as JSON."""

    def __init__(self, console: Console, *, lines: bool) -> None:
        self._lines = lines
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=lines or not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Steps:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def done(self, step: str, done: int, of: int) -> None:
        """``done`` of ``of`` parts of ``step`` are done."""
        if self._lines:
            print_line("progress", step=step, done=done, of=of)
            return
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=of)
        self._bars.update(self._tasks[step], completed=done)
