"""Reports the classified clips of one source: log lines, lines of JSON, events, saved clips, metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from consumer.errors import OutputError
from consumer.output.classified_clip import ClassifiedClip
from consumer.output.event_channel import EventChannel
from consumer.output.events import ActionDetector, ActionEvent, Rules
from consumer.output.evidence import Evidence
from consumer.output.metrics import Metrics
from consumer.output.saved_clips import SavedClips
from consumer.output.standard_output import write_line
from consumer.output.tally import Tally
from consumer.sources.clip import Clip
from consumer.sources.footage import Footage
from consumer.sources.source import Source

logger = logging.getLogger(__name__)


class Report:
    """The outputs of one source; clips must be reported in order."""

    def __init__(
        self,
        source: Source,
        json: bool,
        rules: Rules,
        channels: tuple[EventChannel, ...],
        saved_clips: SavedClips | None,
        evidence: Evidence | None,
        metrics: Metrics,
        tally: Tally,
    ) -> None:
        self._source = source
        self._json = json
        self._detector = ActionDetector(source.name, rules) if channels or evidence else None
        self._channels = channels
        self._saved_clips = saved_clips
        self._saved_until_s = float("-inf")
        self._evidence = evidence
        self._metrics = metrics
        self._tally = tally

    async def classified(self, clip: Clip, result: ClassifiedClip) -> None:
        """Report a classified clip on all outputs."""
        self._metrics.answered(result.source, result.latency_ms / 1000)
        self._tally.classified(self._source, clip)
        logger.info("clip", extra=self._fields(result))
        if self._json:
            write_line(result.json())
        if self._saved_clips is not None and self._worth_saving(result):
            await self._save(self._saved_clips, clip, result)
        if self._detector is not None:
            self._emit(self._detector.update(result))

    def still(self, clip: Clip) -> None:
        """Report a clip that was not classified because nothing moves in it: it shows no action."""
        self._metrics.clip(self._source.name, "still")
        self._tally.still(self._source, clip)
        if self._detector is not None:
            self._emit(self._detector.update(ClassifiedClip.still(self._source.name, clip)))

    def silent(self) -> None:
        """End all actions, because the source has ended or its clips have not been classified for too long."""
        if self._detector is not None:
            self._emit(self._detector.end_all())

    async def close(self) -> None:
        """End all actions, and save their recordings."""
        self.silent()
        if self._evidence is not None:
            await self._evidence.close()

    @property
    def footage(self) -> Footage | None:
        """Where the latest video of a live source is kept, if its actions are to be saved."""
        return None if self._evidence is None else self._evidence.footage

    def _worth_saving(self, result: ClassifiedClip) -> bool:
        """Whether to save the clip; with events, only a confident one that overlaps no saved clip."""
        if self._detector is None:
            return True
        if not self._detector.confident(result) or result.start_s < self._saved_until_s:
            return False
        self._saved_until_s = result.end_s
        return True

    def _emit(self, events: Iterable[ActionEvent]) -> None:
        for event in events:
            self._metrics.event(event.source, event.event)
            fields = {"source": event.source, "label": event.label, "confidence": round(event.confidence, 4)}
            logger.info(f"action {event.event}", extra=fields | {"action_id": event.action_id})
            if self._evidence is not None:
                self._evidence.update(event)
            for channel in self._channels:
                channel.put(event)

    async def _save(self, saved_clips: SavedClips, clip: Clip, result: ClassifiedClip) -> None:
        try:
            path = await asyncio.to_thread(saved_clips.save, clip, result, self._source.live)
        except OutputError as error:
            # The other outputs must continue even if the disk is full.
            self._metrics.saved(success=False)
            logger.error(str(error), extra={"source": result.source, "clip_id": result.clip_id})
        else:
            self._metrics.saved(success=True)
            logger.info("clip saved", extra={"source": result.source, "path": str(path)})

    def _fields(self, result: ClassifiedClip) -> dict[str, object]:
        best = result.predictions[0]
        span = {"start_s": result.start_s, "end_s": result.end_s}
        return {
            "source": result.source,
            **(_times(span) if self._source.live else span),
            "label": best.label,
            "confidence": round(best.confidence, 4),
            "latency_ms": result.latency_ms,
            "clip_id": result.clip_id,
        }


def _times(span: dict[str, float]) -> dict[str, object]:
    """The times of a live source as ISO 8601 text, which is easier to read in a log than Unix time."""
    return {
        name.removesuffix("_s"): datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds")
        for name, time_s in span.items()
    }
