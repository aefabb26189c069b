"""Counts what a run has done, for its summary and its exit code."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from archive.busy import BusyTime

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """The counts of a run over ``videos`` videos, of which ``there`` had results before."""

    videos: int
    there: int = 0
    windows: int = 0
    failed: list[str] = field(default_factory=list)
    started_s: float = field(default_factory=time.monotonic)

    @property
    def exit_code(self) -> int:
        """2 if no video could be read, 1 if some could not, else 0."""
        if not self.failed:
            return 0
        return 2 if len(self.failed) == self.videos else 1

    def fail(self, name: str, text: str) -> None:
        """Count and log a video that could not be read."""
        self.failed.append(name)
        logger.error(text, extra={"video": name})

    def log(self, busy: BusyTime | None = None) -> None:
        """Log the summary, with the share of the time in which the engine of this process was busy."""
        elapsed_s = time.monotonic() - self.started_s
        fields: dict[str, object] = {"videos": self.videos, "there_before": self.there, "failed": len(self.failed)}
        fields |= {"windows": self.windows, "seconds": round(elapsed_s, 1)}
        fields["windows_per_s"] = round(self.windows / max(elapsed_s, 1e-3), 1)
        if busy is not None and self.windows:
            fields["engine_busy_percent"] = round(100 * busy.share, 1)
        logger.info("summary", extra=fields)
