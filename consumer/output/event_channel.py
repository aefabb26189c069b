"""Delivers events to one sink in order and in the background, so that a slow sink delays nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from types import TracebackType
from typing import Protocol, Self

from consumer.errors import ConsumerError, OutputError
from consumer.output.event_sinks import Sink, UndeliveredError
from consumer.output.events import ActionEvent
from consumer.retry import Backoff

logger = logging.getLogger(__name__)

MAX_WAITING_EVENTS = 10_000
FINAL_DELIVERY_S = 5.0
PAUSES = Backoff(first_s=0.5, longest_s=30.0)


class Counters(Protocol):
    """The counters of the channel."""

    def event_lost(self) -> None:
        """An event could not be delivered."""
        ...


class EventChannel:
    """Delivers events to ``sink`` in its own task; an async context manager.

    A failed delivery is retried until it succeeds or the sink refuses the event permanently. At most 10,000 events
    wait; beyond that, the oldest is lost. On exit, events that are not delivered within 5 s are lost.

    ``delivery`` is the task. It ends only with the error of a sink that will never take an event again: OutputError,
    or BrokenPipeError if nobody reads stdout.
    """

    def __init__(self, sink: Sink, counters: Counters) -> None:
        self._sink = sink
        self._counters = counters
        self._waiting: deque[ActionEvent] = deque()
        self._wakeup = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        self.delivery = asyncio.create_task(self._deliver())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.wait({self.delivery, idle := asyncio.ensure_future(self._idle.wait())},
                           timeout=FINAL_DELIVERY_S, return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
        idle.cancel()
        self.delivery.cancel()
        (ended,) = await asyncio.gather(self.delivery, return_exceptions=True)
        for _ in self._waiting:
            self._lose("the consumer ends")
        self._waiting.clear()
        if isinstance(ended, Exception):
            raise ended

    def put(self, event: ActionEvent) -> None:
        """Add ``event`` to the waiting events."""
        if len(self._waiting) == MAX_WAITING_EVENTS:
            self._waiting.popleft()
            self._lose("too many are waiting")
        self._waiting.append(event)
        self._idle.clear()
        self._wakeup.set()

    async def _deliver(self) -> None:
        try:
            async with self._sink:
                while True:
                    while self._waiting:
                        await self._send(self._waiting[0])
                    self._idle.set()
                    self._wakeup.clear()
                    await self._wakeup.wait()
        except (BrokenPipeError, ConsumerError):
            raise
        except Exception as error:
            what = f"events can no longer be delivered to {self._sink.name}: {error!r}"
            raise OutputError(what, "check the target of --events") from error

    async def _send(self, event: ActionEvent) -> None:
        failures = 0
        while self._waiting and self._waiting[0] is event:
            try:
                await self._sink.send(event.json())
            except UndeliveredError as error:
                failures += 1
                if not error.retriable:
                    self._waiting.popleft()
                    self._lose(str(error))
                    return
                pause_s = PAUSES.pause_s(failures)
                fields = {"to": self._sink.name, "reason": str(error), "waiting": len(self._waiting)}
                logger.warning("event not delivered, trying again", extra=fields | {"pause_s": round(pause_s, 2)})
                await asyncio.sleep(pause_s)
            else:
                if self._waiting and self._waiting[0] is event:
                    self._waiting.popleft()

    def _lose(self, reason: str) -> None:
        self._counters.event_lost()
        logger.error("event lost", extra={"to": self._sink.name, "reason": reason})
