"""The feed: one source, from its reader's thread to the reports on its clips."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from consumer.client.answer import Answer
from consumer.errors import ClipDroppedError, ServiceError, ServiceRefusedError
from consumer.feeds.clip_queue import ClipQueue
from consumer.feeds.reader import Reader, Reading
from consumer.feeds.sender import Delivery
from consumer.feeds.service_watch import Gate
from consumer.output.classified_clip import ClassifiedClip
from consumer.output.metrics import Metrics
from consumer.output.report import Report
from consumer.sources.clip import Clip, Clipping
from consumer.sources.source import Source

logger = logging.getLogger(__name__)

# An outage of a night must not fill the log: dropped clips are told of together.
TELL_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class _Sent:
    """A clip on its way."""

    clip: Clip
    answer: asyncio.Task[tuple[Answer, float]]


@dataclass(frozen=True, slots=True)
class Shared:
    """What all feeds use."""

    gate: Gate
    delivery: Delivery
    metrics: Metrics
    clipping: Callable[[], Clipping]


class Feed:
    """Sends the clips of ``source`` and reports on them in their order.

    ``queue`` clips wait for their turn, and ``in_flight`` may be on their way. After ``silence_s`` without an answer
    a live source is reported silent.
    """

    def __init__(
        self,
        source: Source,
        reading: Reading,
        queue: int,
        in_flight: int,
        silence_s: float,
        report: Report,
        shared: Shared,
    ) -> None:
        self.source = source
        self.classified = 0
        self._shared = shared
        self._report = report
        self._silence_s = silence_s if source.live else None
        self._clips = ClipQueue(asyncio.get_running_loop(), queue, drops=source.live, on_drop=self._dropped)
        self._sent: asyncio.Queue[_Sent | None] = asyncio.Queue(in_flight)
        self._reader = Reader(source, reading, shared.clipping, self._clips, shared.metrics)
        self._telling = threading.Lock()
        self._untold, self._tell_again_s = 0, 0.0
        self._on_their_way: set[asyncio.Task[tuple[Answer, float]]] = set()

    async def run(self) -> None:
        """Until the source's end; raises the ConsumerError that a recording ends with. A live source has no end."""
        self._reader.start()
        sender = asyncio.create_task(self._send())
        try:
            while (sent := await self._next()) is not None:
                await self._finish(sent)
            await sender
        finally:
            self._reader.stop()
            for task in (sender, *self._on_their_way):
                task.cancel()
            await asyncio.gather(sender, *self._on_their_way, return_exceptions=True)
            self._report.silent()

    async def _send(self) -> None:
        """Send clips as places become free; after that raises what the source ended with."""
        outdated = self._clips.full if self.source.live else None
        try:
            while await self._clips.filled():
                await self._shared.delivery.place()
                clip = self._clips.take()
                task = asyncio.create_task(self._shared.delivery.answer(self.source.name, clip, outdated))
                self._on_their_way.add(task)
                task.add_done_callback(self._arrived)
                await self._sent.put(_Sent(clip, task))
        except Exception:
            await self._sent.put(None)
            raise
        await self._sent.put(None)

    def _arrived(self, task: asyncio.Task[tuple[Answer, float]]) -> None:
        self._on_their_way.discard(task)
        # After the first failure of a recording nobody asks for the others.
        if not task.cancelled():
            task.exception()

    async def _next(self) -> _Sent | None:
        while True:
            try:
                async with asyncio.timeout(self._silence_s):
                    return await self._sent.get()
            except TimeoutError:
                self._report.silent()

    async def _finish(self, sent: _Sent) -> None:
        try:
            answer, latency_ms = await sent.answer
        except ClipDroppedError:
            self._dropped()
        except ServiceError as error:
            self._shared.metrics.clip(self.source.name, "failed")
            if not self.source.live:
                raise
            await self._survive(error)
        else:
            self.classified += 1
            result = ClassifiedClip.of(self.source.name, sent.clip, answer, latency_ms)
            await self._report.classified(sent.clip, result)

    async def _survive(self, error: ServiceError) -> None:
        """A camera goes on; what it sends next may fit better."""
        logger.error(str(error), extra={"source": self.source.name})
        if isinstance(error, ServiceRefusedError) and error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            await self._shared.gate.look()

    def _dropped(self) -> None:
        """Count a clip; from the reader's thread too."""
        self._shared.metrics.clip(self.source.name, "dropped")
        with self._telling:
            self._untold += 1
            now_s = time.monotonic()
            if now_s < self._tell_again_s:
                return
            untold, self._untold = self._untold, 0
            self._tell_again_s = now_s + TELL_EVERY_S
        fields = {"source": self.source.name, "clips": untold}
        logger.warning("clips dropped, the service is too slow or away", extra=fields)
