"""Saves one recording of each action: the camera's own video, at full size, with some seconds before and after."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from av.error import FFmpegError

from consumer.errors import ConsumerError, OutputError
from consumer.output.events import ActionEvent
from consumer.output.metrics import Metrics
from consumer.output.retention import Retention
from consumer.output.saved_clips import file_name, unwritable, written_aside
from consumer.sources.footage import Footage, Part, cut_recording, format_for, write_part
from consumer.sources.source import Source

logger = logging.getLogger(__name__)

SUFFIXES = {"mp4": ".mp4", "matroska": ".mkv"}


@dataclass(frozen=True, slots=True)
class EvidenceRules:
    """Where recordings of actions are saved (``None``: nowhere), and how many seconds before and after the action."""

    directory: Path | None = None
    before_s: float = 5.0
    after_s: float = 5.0


class Evidence:
    """Saves the recordings of the actions of ``source``.

    ``footage`` has the latest video of a live source; a file is read again. ``_active`` has the time from which each
    action that has not ended is to be saved, and ``_saving`` that of each recording that waits for its last seconds.
    """

    def __init__(
        self,
        source: Source,
        directory: Path,
        rules: EvidenceRules,
        retention: Retention,
        footage: Footage | None,
        metrics: Metrics,
    ) -> None:
        self._source = source
        self._directory = directory
        self._rules = rules
        self._retention = retention
        self.footage = footage
        self._metrics = metrics
        self._active: dict[str, float] = {}
        self._saving: dict[asyncio.Task[None], float] = {}
        self._closing = asyncio.Event()

    def update(self, event: ActionEvent) -> None:
        """Note the start of an action, or save its recording at its end."""
        if event.event == "start":
            self._active[event.action_id] = event.start_s - self._rules.before_s
        else:
            since_s = self._active.pop(event.action_id, event.start_s - self._rules.before_s)
            task = asyncio.create_task(self._save(event))
            self._saving[task] = since_s
            task.add_done_callback(self._saved)
        self._hold()

    async def close(self) -> None:
        """Save what waits for its last seconds without waiting any longer."""
        self._closing.set()
        await asyncio.gather(*self._saving, return_exceptions=True)

    def _saved(self, task: asyncio.Task[None]) -> None:
        del self._saving[task]
        self._hold()

    def _hold(self) -> None:
        if self.footage is not None:
            self.footage.hold(min([*self._active.values(), *self._saving.values()], default=None))

    async def _save(self, event: ActionEvent) -> None:
        if self.footage is not None:
            left_s = event.end_s + self._rules.after_s - time.time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(left_s, 0)):
                    await self._closing.wait()
        try:
            path = await asyncio.to_thread(self._write, event)
        except ConsumerError as error:
            # The other outputs must continue even if the disk is full.
            self._metrics.saved(success=False)
            logger.error(str(error), extra={"source": event.source, "action_id": event.action_id})
        else:
            self._metrics.saved(success=True)
            logger.info("evidence saved", extra={"source": event.source, "path": str(path)})

    def _write(self, event: ActionEvent) -> Path:
        part = self._part(event.start_s - self._rules.before_s, event.end_s + self._rules.after_s)
        if part is None:
            what = f"no video of {event.source} is left from {event.label!r}"
            raise OutputError(what, "it must be classified within two minutes; see --in-flight and --clip-stride")
        container_format = format_for(part)
        name = file_name(event.source, part.start_s, event.action_id, self._source.live, SUFFIXES[container_format])
        path = self._directory / name
        try:
            with written_aside(path) as aside:
                write_part(part, aside, container_format)
            self._retention.apply(self._directory)
        except (OSError, FFmpegError, ValueError) as error:
            raise unwritable(path, error, "--evidence") from error
        return path

    def _part(self, start_s: float, end_s: float) -> Part | None:
        if self.footage is not None:
            return self.footage.cut(start_s, end_s)
        return cut_recording(self._source, start_s, end_s)
