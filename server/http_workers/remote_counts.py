"""An HTTP worker's counts, kept by the engine process, so that nothing is forgotten with the worker."""

from __future__ import annotations

from server.http_workers.engine_link import EngineLink
from server.http_workers.messages import Answered, Closed, Connected, Ended, Received, Scrape
from server.phases import PhasesMs


class RemoteCounts:
    """``Counts`` over ``link``."""

    def __init__(self, link: EngineLink) -> None:
        self._link = link
        self._taken = 0

    def taken(self) -> None:
        """A connection was handed to this process."""
        self._taken += 1

    def state(self, name: str) -> None:
        """The engine process knows."""

    def received(self) -> None:
        # A wake-up of the engine process less for every request: its clip, or its end, follows.
        self._link.send_along(Received())

    def ended(self, outcome: str) -> None:
        self._link.send(Ended(outcome))

    def answered(self, phases: PhasesMs, label: str) -> None:
        self._link.send(Answered(phases, label))

    def closed(self, reason: str) -> None:
        self._link.send(Closed(reason))

    def connected(self, clients: int) -> None:
        self._link.send(Connected(self._taken, clients))

    async def scrape(self) -> bytes:
        return await self._link.ask(Scrape)
