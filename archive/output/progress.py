"""Progress through the videos on standard error: a bar with the time left, or a log line from time to time."""

from __future__ import annotations

import logging
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)

LOG_EVERY_S = 10.0


class Bar:
    """The progress of a run over ``videos`` videos; open ones count as far as they are."""

    def __init__(self, videos: int, console: Console) -> None:
        self._videos = videos
        self._ended = 0
        self._windows = 0
        self._parts: dict[str, float] = {}
        self._logged_s = self._started_s = time.monotonic()
        self._console = console
        self._progress = Progress(
            TextColumn("{task.fields[ended]}/{task.total:.0f} videos"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]:.1f} windows/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            # Else what is printed for a program would go to the terminal.
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )
        self._task = self._progress.add_task("", total=videos, ended=0, rate=0.0)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def windows_per_s(self) -> float:
        return self._windows / max(time.monotonic() - self._started_s, 1e-3)

    def scored(self, key: str, end_s: float, of_s: float | None) -> None:
        """A window of the video ``key``, which ends at ``end_s`` of ``of_s`` seconds, was classified."""
        self._windows += 1
        self._parts[key] = min(1.0, end_s / of_s) if of_s else 0.0
        self._show()

    def ended(self, key: str) -> None:
        """The video ``key`` has ended, or failed."""
        self._ended += 1
        self._parts.pop(key, None)
        self._show()

    def _show(self) -> None:
        completed = self._ended + sum(self._parts.values())
        if self._console.is_terminal:
            self._progress.update(self._task, completed=completed, ended=self._ended, rate=self.windows_per_s)
        elif time.monotonic() - self._logged_s >= LOG_EVERY_S:
            self._logged_s = time.monotonic()
            logger.info("progress", extra=self._fields(completed))

    def _fields(self, completed: float) -> dict[str, object]:
        elapsed_s = self._logged_s - self._started_s
        left_s = elapsed_s * (self._videos - completed) / completed if completed else None
        return {
            "videos": f"{self._ended}/{self._videos}",
            "percent": round(100 * completed / self._videos, 1),
            "windows_per_s": round(self.windows_per_s, 1),
            "left_s": None if left_s is None else round(left_s),
        }
