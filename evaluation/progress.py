"""The progress of a run over videos, with the time left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class VideoBar:
    """A bar on a terminal; nothing elsewhere."""

    def __init__(self, videos: int, console: Console) -> None:
        self._progress = Progress(
            MofNCompleteColumn(),
            TextColumn("videos"),
            BarColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=videos)

    def __enter__(self) -> VideoBar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def ended(self) -> None:
        """A video has its answers, or failed."""
        self._progress.advance(self._task)
