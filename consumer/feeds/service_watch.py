"""Watches whether the service accepts work; during an outage, one task polls it and all senders wait."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Self

from consumer.client.async_client import POLLING, AsyncClient
from consumer.client.wire import Model
from consumer.errors import ServiceAwayError, ServiceRefusedError, ServiceUnreachableError
from consumer.retry import WaitBudget

logger = logging.getLogger(__name__)

REMINDER_S = 60.0


class ServiceWatch:
    """Watches the service of ``client``; an async context manager.

    The service may be away for ``max_outage_s`` seconds (``None``: without limit). ``outages`` counts the outages so
    far; ``model`` is the last model that the service
    reported, of that name or its first. ``_asking`` is the poll in progress, if any;
    ``_met`` says whether the service was ready once.
    """

    def __init__(self, client: AsyncClient, max_outage_s: float | None, model: str | None = None) -> None:
        self.outages = 0
        self.model: Model | None = None
        self._client = client
        self._max_outage_s = max_outage_s
        self._name = model
        self._asking: asyncio.Task[bool] | None = None
        self._met = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def wait_at_start(self) -> None:
        """Wait for the service when the consumer starts. Raises ServiceError."""
        if (obstacle := await self._obstacle()) is not None:
            await self._wait("waiting for the service", obstacle)
        self._met = True

    async def wait_while_away(self) -> None:
        """Wait for the end of a known outage, if there is one. Raises ServiceError."""
        if self._asking is not None:
            await asyncio.shield(self._asking)

    async def was_away(self, outages: int) -> bool:
        """After a failed request, wait until the service accepts work; returns whether there was an outage.

        ``outages`` is the value of ``self.outages`` when the failed request began. Raises ServiceError.
        """
        if self._asking is None:
            if self.outages != outages:
                return True
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)

    async def refresh_model(self) -> None:
        """Ask the service for its model, which may have been replaced. Raises ServiceUnreachableError."""
        model = await self._client.model(self._name)
        if model is not None and self.model is not None and model != self.model:
            fields = {"model": model.name, "frames": model.frames, "crop": model.crop}
            logger.warning("the service has another model now", extra=fields)
        self.model = model or self.model

    async def _ask(self) -> bool:
        obstacle = await self._unready()
        if obstacle is None:
            return False
        self.outages += 1
        await self._wait("service lost", obstacle)
        return True

    async def _unready(self) -> str | None:
        """Return why the service does not accept work, or ``None``. Raises ServiceRefusedError at the start only."""
        try:
            return await self._client.obstacle()
        except ServiceRefusedError as error:
            # It was a V-JEPA 2 service before: what answers now may be a proxy, or the service while it starts.
            if not self._met:
                raise
            return error.what

    async def _obstacle(self) -> str | None:
        """Like ``_unready``; a service that is ready is also asked for its model."""
        obstacle = await self._unready()
        if obstacle is None:
            try:
                await self.refresh_model()
            except ServiceUnreachableError as error:
                return error.reason
        return obstacle

    async def _wait(self, event: str, obstacle: str) -> None:
        """Log ``event``, wait until the service is ready, and log that it is ready."""
        fields = {"url": self._client.url, "reason": obstacle}
        logger.warning(event, extra=fields)
        budget, polls, reminded_s = WaitBudget(self._max_outage_s), 1, 0.0
        while True:
            pause_s = budget.left_s(POLLING.pause_s(polls))
            if pause_s is None:
                reason = f"is not ready after {self._max_outage_s:g} s: {obstacle}"
                raise ServiceAwayError(self._client.url, reason)
            await asyncio.sleep(pause_s)
            found = await self._obstacle()
            if found is None:
                break
            obstacle, polls = found, polls + 1
            if budget.waited_s - reminded_s >= REMINDER_S:
                reminded_s = budget.waited_s
                waited = {"url": self._client.url, "reason": obstacle, "waited_s": round(reminded_s)}
                logger.warning("still waiting for the service", extra=waited)
        logger.info("service ready", extra={"url": self._client.url, "waited_s": round(budget.waited_s, 3)})

    def _asked(self, task: asyncio.Task[bool]) -> None:
        self._asking = None
        # Marks the error as retrieved: waiting tasks get it anyway, and there may be none left.
        if not task.cancelled():
            task.exception()
