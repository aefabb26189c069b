"""Sends the clips of all sources to the service, with retries and within a shared limit of requests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from consumer.client.answer import Answer
from consumer.client.async_client import AsyncClient
from consumer.errors import ClipDroppedError, ServiceError
from consumer.feeds.service_watch import ServiceWatch
from consumer.retry import Backoff
from consumer.sources.clip import Clip

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Counters(Protocol):
    """The counters of the sender, by name of the source."""

    def retried(self, source: str) -> None:
        """A clip is sent again."""
        ...

    def in_flight(self, change: int) -> None:
        """A request began (1) or ended (-1)."""
        ...


class Sender:
    """Sends clips, at most ``in_flight`` at once over all sources; slots are given in the order of requests."""

    def __init__(
        self,
        client: AsyncClient,
        watch: ServiceWatch,
        in_flight: int,
        retries: int,
        top_k: int | None,
        head: str | None,
        counters: Counters,
    ) -> None:
        self._client = client
        self._watch = watch
        self._slots = asyncio.Semaphore(in_flight)
        self._retries = retries
        self._top_k, self._head = top_k, head
        self._counters = counters

    async def reserve_slot(self) -> None:
        """Wait until the service is available and a slot is free; the next ``send()`` uses and releases the slot."""
        await self._watch.wait_while_away()
        await self._slots.acquire()

    async def send(self, source: str, clip: Clip, outdated: asyncio.Event | None) -> tuple[Answer, float]:
        """Send a clip in the reserved slot; returns the answer and its latency in milliseconds.

        The clip is sent again after every outage of the service, and up to ``retries`` times after retriable refusals.
        Raises ServiceError, or ClipDroppedError if the clip has to be sent again while ``outdated`` is set.
        """
        started_s = time.perf_counter()
        try:
            body = await self._client.encode(clip.pictures, top_k=self._top_k, head=self._head)
        except BaseException:
            self._slots.release()
            raise
        failures = 0
        while True:
            outages = self._watch.outages
            try:
                async with self._slot_in_use():
                    answer = await self._client.post(body)
                return answer, (time.perf_counter() - started_s) * 1000
            except ServiceError as error:
                if not error.retriable:
                    raise
                failures = await unless_outdated(outdated, self._recover(error, failures, outages, source))
            self._counters.retried(source)
            await unless_outdated(outdated, self.reserve_slot())

    @asynccontextmanager
    async def _slot_in_use(self) -> AsyncIterator[None]:
        self._counters.in_flight(1)
        try:
            yield
        finally:
            self._counters.in_flight(-1)
            self._slots.release()

    async def _recover(self, error: ServiceError, failures: int, outages: int, source: str) -> int:
        """Wait until the clip should be sent again; returns how often it has failed outside outages."""
        if await self._watch.was_away(outages):
            return failures
        if failures == self._retries:
            raise error
        failures += 1
        pause_s = Backoff().pause_s(failures, error.retry_after_s)
        fields = {"source": source, "pause_s": round(pause_s, 3), "retries_left": self._retries - failures}
        logger.warning("service busy, trying again", extra=fields | {"reason": error.what})
        await asyncio.sleep(pause_s)
        return failures


async def unless_outdated(outdated: asyncio.Event | None, waiting: Coroutine[Any, Any, T]) -> T:
    """Await ``waiting``, but raise ClipDroppedError as soon as ``outdated`` is set."""
    if outdated is None:
        return await waiting
    wanted, given_up = asyncio.ensure_future(waiting), asyncio.ensure_future(outdated.wait())
    try:
        await asyncio.wait({wanted, given_up}, return_when=asyncio.FIRST_COMPLETED)
        if wanted.done():
            return wanted.result()
        raise ClipDroppedError
    finally:
        given_up.cancel()
        wanted.cancel()
