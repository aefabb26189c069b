"""The gate: whether the service takes work; where it does not, everybody waits behind it and one task asks."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Self

from consumer.client.async_client import POLLING, AsyncClient
from consumer.client.wire import Model
from consumer.errors import ServiceUnreachableError
from consumer.retry import Patience

logger = logging.getLogger(__name__)

REMINDER_S = 60.0


class Gate:
    """Watches over the service of ``client``, as an async context manager.

    ``patience_s`` is how long the service may be away (``None``: for ever). ``outages`` counts how often it was, and
    ``model`` is what it said last about its model.
    """

    def __init__(self, client: AsyncClient, patience_s: float | None) -> None:
        self.outages = 0
        self.model: Model | None = None
        self._client = client
        self._patience_s = patience_s
        self._asking: asyncio.Task[bool] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def first_opening(self) -> None:
        """Wait for the service at the start. Raises a ServiceError."""
        if (obstacle := await self._client.obstacle()) is not None:
            await self._wait("waiting for the service", obstacle)
        await self.look()

    async def opened(self) -> None:
        """Return when the service is not known to be away. Raises a ServiceError."""
        if self._asking is not None:
            await asyncio.shield(self._asking)

    async def was_away(self, outages: int) -> bool:
        """After a failure: return when the service takes work again, and whether it was away.

        ``outages`` is how many there had been when the failed request began. Raises a ServiceError.
        """
        if self._asking is None:
            if self.outages != outages:
                return True
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)

    async def look(self) -> None:
        """Ask for the model anew, as another one may have taken its place."""
        model = await self._client.model()
        if model is not None and self.model is not None and model != self.model:
            fields = {"model": model.name, "frames": model.frames, "crop": model.crop}
            logger.warning("the service has another model now", extra=fields)
        self.model = model or self.model

    async def _ask(self) -> bool:
        obstacle = await self._client.obstacle()
        if obstacle is None:
            return False
        self.outages += 1
        await self._wait("service lost", obstacle)
        await self.look()
        return True

    async def _wait(self, event: str, obstacle: str) -> None:
        """Log ``event``, wait until the service is ready, log that."""
        fields = {"url": self._client.url, "reason": obstacle}
        logger.warning(event, extra=fields)
        patience, polls, reminded_s = Patience(self._patience_s), 1, 0.0
        while True:
            pause_s = patience.left_s(POLLING.pause_s(polls))
            if pause_s is None:
                reason = f"is not ready after {self._patience_s:g} s: {obstacle}"
                raise ServiceUnreachableError(self._client.url, reason)
            await asyncio.sleep(pause_s)
            found = await self._client.obstacle()
            if found is None:
                break
            obstacle, polls = found, polls + 1
            if patience.waited_s - reminded_s >= REMINDER_S:
                reminded_s = patience.waited_s
                waited = {"url": self._client.url, "reason": obstacle, "waited_s": round(reminded_s)}
                logger.warning("still waiting for the service", extra=waited)
        logger.info("service ready", extra={"url": self._client.url, "waited_s": round(patience.waited_s, 3)})

    def _asked(self, task: asyncio.Task[bool]) -> None:
        self._asking = None
        # Whoever still waits has the error; that nobody does any more is no fault.
        if not task.cancelled():
            task.exception()
