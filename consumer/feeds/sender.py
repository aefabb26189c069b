"""The delivery: a clip to the service and its answer back, as often as it takes, within bounds that all share."""

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
from consumer.feeds.service_watch import Gate
from consumer.retry import Backoff
from consumer.sources.clip import Clip

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Tally(Protocol):
    """What the delivery counts, by the name of the source."""

    def retried(self, source: str) -> None:
        """A clip is sent again."""
        ...

    def in_flight(self, change: int) -> None:
        """A request began (1) or ended (-1)."""
        ...


class Delivery:
    """Sends clips, at most ``in_flight`` at once over all sources, which get their turns in the order of asking."""

    def __init__(
        self, client: AsyncClient, gate: Gate, in_flight: int, retries: int, top_k: int | None, tally: Tally
    ) -> None:
        self._client = client
        self._gate = gate
        self._places = asyncio.Semaphore(in_flight)
        self._retries = retries
        self._top_k = top_k
        self._tally = tally

    async def place(self) -> None:
        """Wait for a place, which the next ``answer()`` uses and gives back."""
        await self._gate.opened()
        await self._places.acquire()

    async def answer(self, source: str, clip: Clip, outdated: asyncio.Event | None) -> tuple[Answer, float]:
        """The service's answer, and how long it took in milliseconds, in the place that was taken before.

        Sent again while the service is away, and up to ``retries`` times while it is there but refuses for the time
        being. Raises a ServiceError, or ClipDroppedError when it has to be sent again and is ``outdated``.
        """
        started_s = time.perf_counter()
        try:
            body = await self._client.encode(clip.pictures, top_k=self._top_k)
        except BaseException:
            self._places.release()
            raise
        failures = 0
        while True:
            outages = self._gate.outages
            try:
                async with self._occupied():
                    answer = await self._client.post(body)
                return answer, (time.perf_counter() - started_s) * 1000
            except ServiceError as error:
                if not error.retriable:
                    raise
                failures = await unless(outdated, self._recover(error, failures, outages, source))
            self._tally.retried(source)
            await unless(outdated, self.place())

    @asynccontextmanager
    async def _occupied(self) -> AsyncIterator[None]:
        self._tally.in_flight(1)
        try:
            yield
        finally:
            self._tally.in_flight(-1)
            self._places.release()

    async def _recover(self, error: ServiceError, failures: int, outages: int, source: str) -> int:
        """Wait until it makes sense to send again; how often the clip has failed by itself then."""
        if await self._gate.was_away(outages):
            return failures
        if failures == self._retries:
            raise error
        failures += 1
        pause_s = Backoff().pause_s(failures, error.retry_after_s)
        fields = {"source": source, "pause_s": round(pause_s, 3), "retries_left": self._retries - failures}
        logger.warning("service busy, trying again", extra=fields | {"reason": error.what})
        await asyncio.sleep(pause_s)
        return failures


async def unless(outdated: asyncio.Event | None, waiting: Coroutine[Any, Any, T]) -> T:
    """Await ``waiting``; raises ClipDroppedError instead as soon as the event is set."""
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
