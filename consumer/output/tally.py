"""Counts what a run has done: its progress through files, and the summary at its end."""

from __future__ import annotations

import asyncio
import logging
import time

from consumer.sources.clip import Clip
from consumer.sources.source import Source

logger = logging.getLogger(__name__)


class Tally:
    """The counts of one run over ``sources``; ``_parts`` has how much of each open file was classified, from 0 to 1."""

    def __init__(self, sources: tuple[Source, ...]) -> None:
        self._sources = len(sources)
        self._files = sum(not source.live for source in sources)
        self._started_s = time.monotonic()
        self._clips = 0
        self._still = 0
        self._ended_files = 0
        self._failed: list[str] = []
        self._parts: dict[Source, float] = {}

    @property
    def any_failed(self) -> bool:
        """Whether a source has failed."""
        return bool(self._failed)

    def classified(self, source: Source, clip: Clip) -> None:
        """Count a classified clip."""
        self._clips += 1
        self._passed(source, clip)

    def still(self, source: Source, clip: Clip) -> None:
        """Count a clip that was not classified because nothing moves in it."""
        self._still += 1
        self._passed(source, clip)

    def _passed(self, source: Source, clip: Clip) -> None:
        if not source.live:
            self._parts[source] = min(1.0, clip.end_s / clip.of_s) if clip.of_s else 0.0

    def ended(self, source: Source, failed: bool) -> None:
        """Count the end of a source."""
        self._parts.pop(source, None)
        self._ended_files += not source.live
        if failed:
            self._failed.append(source.name)

    async def log_progress(self, interval_s: float) -> None:
        """Log the progress through the files every ``interval_s`` seconds, until cancelled."""
        while self._files:
            await asyncio.sleep(interval_s)
            done = (self._ended_files + sum(self._parts.values())) / self._files
            fields = {"files": f"{self._ended_files}/{self._files}", "percent": round(100 * done, 1)}
            logger.info("progress", extra=fields | {"clips": self._clips, "clips_per_s": self._clips_per_s()})

    def log_summary(self) -> None:
        """Log what was done; the names of the sources that failed are in their own error lines, too."""
        elapsed_s = time.monotonic() - self._started_s
        fields: dict[str, object] = {"sources": self._sources, "failed": len(self._failed)}
        if self._failed:
            fields["failed_sources"] = ", ".join(self._failed)
        if self._still:
            fields["still"] = self._still
        fields |= {"clips": self._clips, "seconds": round(elapsed_s, 1), "clips_per_s": self._clips_per_s()}
        logger.info("summary", extra=fields)

    def _clips_per_s(self) -> float:
        return round(self._clips / max(time.monotonic() - self._started_s, 1e-3), 1)
