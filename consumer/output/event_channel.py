"""The event channel: hands events to a sink in their order, however slow that is, without holding up anybody."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from types import TracebackType
from typing import Protocol, Self

from consumer.output.event_sinks import Sink, UndeliveredError
from consumer.output.events import ActionEvent
from consumer.retry import Backoff

logger = logging.getLogger(__name__)

HELD_EVENTS = 10_000
LAST_WORDS_S = 5.0
PAUSES = Backoff(first_s=0.5, longest_s=30.0)


class Tally(Protocol):
    """What the channel counts."""

    def event_lost(self) -> None:
        """An event will never be delivered."""
        ...


class EventChannel:
    """Delivers to ``sink`` from a task of its own, as an async context manager.

    Events that cannot be delivered are tried again until they are; the oldest are lost when there are more than
    10,000, and what is left 5 s after the end. Only what the sink refuses for good is not tried again.
    """

    def __init__(self, sink: Sink, tally: Tally) -> None:
        self._sink = sink
        self._tally = tally
        self._waiting: deque[ActionEvent] = deque()
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._deliver())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.wait({self._task, idle := asyncio.ensure_future(self._idle.wait())},
                           timeout=LAST_WORDS_S, return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
        idle.cancel()
        self._task.cancel()
        (ended,) = await asyncio.gather(self._task, return_exceptions=True)
        for _ in self._waiting:
            self._lose("the consumer ends")
        if isinstance(ended, Exception):
            raise ended

    def put(self, event: ActionEvent) -> None:
        """Have ``event`` delivered."""
        if len(self._waiting) == HELD_EVENTS:
            self._waiting.popleft()
            self._lose("too many are waiting")
        self._waiting.append(event)
        self._idle.clear()
        self._news.set()

    async def _deliver(self) -> None:
        async with self._sink:
            while True:
                while self._waiting:
                    await self._send(self._waiting[0])
                self._idle.set()
                self._news.clear()
                await self._news.wait()

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
        self._tally.event_lost()
        logger.error("event lost", extra={"to": self._sink.name, "reason": reason})
