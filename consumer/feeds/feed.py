"""A feed connects the reader of one source, the shared sender and the source's report."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from consumer.client.answer import Answer
from consumer.client.encodings import Picture
from consumer.errors import ClipDroppedError, ClipStillError, ServiceError, ServiceRefusedError
from consumer.feeds.clip_queue import ClipQueue
from consumer.feeds.reader import Reader, Reading
from consumer.feeds.sender import Sender
from consumer.feeds.service_watch import ServiceWatch
from consumer.feeds.transport import Transport
from consumer.output.classified_clip import ClassifiedClip
from consumer.output.metrics import Metrics
from consumer.output.report import Report
from consumer.sources.clip import Clip
from consumer.sources.source import Source
from video.clipping import Clipping

logger = logging.getLogger(__name__)

# Dropped clips are logged together, so that a long outage does not fill the log.
DROP_LOG_INTERVAL_S = 10.0


@dataclass(frozen=True, slots=True)
class _Sent:
    """A clip and the task that waits for its answer and latency in milliseconds."""

    clip: Clip
    answer: asyncio.Task[tuple[Answer, float]]


@dataclass(frozen=True, slots=True)
class Shared:
    """The objects that all feeds share; ``open_files`` limits how many recordings are open at the same time."""

    watch: ServiceWatch
    open_files: asyncio.Semaphore
    metrics: Metrics
    clipping: Callable[[], Clipping]


class Feed:
    """Sends the clips of ``source`` over ``transport`` and reports their answers in order.

    At most ``queue`` clips wait to be sent, and at most ``in_flight`` wait for their answers. After ``silence_s``
    seconds without an answer, a live source is reported silent.
    """

    def __init__(
        self,
        source: Source,
        reading: Reading,
        queue: int,
        in_flight: int,
        silence_s: float,
        report: Report,
        sender: Sender,
        transport: Transport,
        shared: Shared,
    ) -> None:
        self.source = source
        self.classified = 0
        self._shared = shared
        self._sender, self._transport = sender, transport
        self._loop = asyncio.get_running_loop()
        self._report = report
        self._silence_s = silence_s if source.live else None
        self._clips = ClipQueue(self._loop, queue, drops=source.live, on_drop=self._dropped)
        self._sent: asyncio.Queue[_Sent | None] = asyncio.Queue(in_flight)
        self._reader = Reader(source, reading, shared.clipping, self._clips, shared.metrics, report.footage, self._grow)
        self._log_lock = threading.Lock()
        self._unlogged, self._next_log_s = 0, 0.0
        self._in_flight: set[asyncio.Task[tuple[Answer, float]]] = set()

    async def run(self) -> None:
        """Run until the source ends; live sources never do. Raises the ConsumerError that ended the source."""
        sending = asyncio.create_task(self._read_and_send())
        try:
            while (sent := await self._next()) is not None:
                await self._finish(sent)
            await sending
        finally:
            self._reader.stop()
            for task in (sending, *self._in_flight):
                task.cancel()
            await asyncio.gather(sending, *self._in_flight, return_exceptions=True)
            await self._transport.close()
            await self._report.close()

    async def _read_and_send(self) -> None:
        """Read the source and send its clips; raises the error that ended the source after the last clip."""
        try:
            # Held until the last clip is sent: a file that has been read still holds clips in memory.
            async with contextlib.nullcontext() if self.source.live else self._shared.open_files:
                self._reader.start()
                await self._send()
        except Exception:
            await self._sent.put(None)
            raise
        await self._sent.put(None)

    async def _send(self) -> None:
        """Send clips as slots become free; raises the error that ended the source."""
        outdated = self._clips.full if self.source.live else None
        while await self._clips.filled():
            await self._sender.reserve_slot()
            clip = self._clips.take()
            task = asyncio.create_task(self._sender.send(self.source.name, clip, self._transport, outdated))
            self._in_flight.add(task)
            task.add_done_callback(self._finished)
            await self._sent.put(_Sent(clip, task))

    def _grow(self, pictures: Sequence[Picture]) -> None:
        """Tell the transport of the first pictures of the next clip; called in the reader's thread."""
        # The loop is closed while the program ends; then nothing is sent any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._transport.grow, pictures)

    def _finished(self, task: asyncio.Task[tuple[Answer, float]]) -> None:
        self._in_flight.discard(task)
        # Marks the error as retrieved: after the first failure of a recording, no task awaits the later answers.
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
        except ClipStillError:
            self._report.still(sent.clip)
        except ServiceError as error:
            self._shared.metrics.clip(self.source.name, "failed")
            if not self.source.live:
                raise
            await self._log_failure(error)
        else:
            self.classified += 1
            result = ClassifiedClip.of(self.source.name, sent.clip, answer, latency_ms)
            await self._report.classified(sent.clip, result)

    async def _log_failure(self, error: ServiceError) -> None:
        """Log an error of a live source, which continues; on 422 ask for the model, because it may have changed."""
        logger.error(str(error), extra={"source": self.source.name})
        if isinstance(error, ServiceRefusedError) and error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            # A service that cannot answer now is asked again after its outage.
            with contextlib.suppress(ServiceError):
                await self._shared.watch.refresh_model()

    def _dropped(self) -> None:
        """Count a dropped clip; also called in the reader's thread."""
        self._shared.metrics.clip(self.source.name, "dropped")
        with self._log_lock:
            self._unlogged += 1
            now_s = time.monotonic()
            if now_s < self._next_log_s:
                return
            unlogged, self._unlogged = self._unlogged, 0
            self._next_log_s = now_s + DROP_LOG_INTERVAL_S
        fields = {"source": self.source.name, "clips": unlogged}
        logger.warning("clips dropped, the service is too slow or away", extra=fields)
