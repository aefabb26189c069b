"""What the HTTP side counts, in whichever process the figures are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from server.phases import PhasesMs


class Counts(Protocol):
    """See ``Metrics``, which is one."""

    def state(self, name: str) -> None: ...

    def received(self) -> None: ...

    def ended(self, outcome: str) -> None: ...

    def answered(self, phases: PhasesMs, label: str) -> None: ...

    def closed(self, reason: str) -> None: ...

    def connected(self, clients: int) -> None: ...

    async def scrape(self) -> bytes:
        """Prometheus' text format, of the whole service."""
        ...
