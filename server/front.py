"""What clients meet: the HTTP side of the service, in this process or in several."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

from server.admission import Admission
from server.app import make_app
from server.deployment import LoadEngine
from server.listener import Listener, connecting, listening
from server.loader import Loader
from server.metrics import Metrics
from server.service import Service
from server.service_rate import ServiceRate
from server.settings import Settings


class Front(Protocol):
    """The lifecycle's view of it; ``loader`` loads what ``service`` serves with."""

    @property
    def service(self) -> Service: ...

    @property
    def loader(self) -> Loader: ...

    @property
    def url(self) -> str: ...

    async def tell_state(self) -> None:
        """The service's state has changed; returns when all clients hear of it."""
        ...

    def stop_accepting(self) -> None:
        """No new connections; those that are open go on."""
        ...

    async def drain(self) -> None:
        """Take no more work, and wait for what was accepted as long as the service waits."""
        ...


class FrontHere:
    """All of it in this process."""

    def __init__(self, service: Service, loader: Loader, listener: Listener) -> None:
        self.service = service
        self.loader = loader
        self._listener = listener

    @property
    def url(self) -> str:
        return self._listener.url

    async def tell_state(self) -> None:
        """The handlers look at the service themselves."""

    def stop_accepting(self) -> None:
        self._listener.stop_accepting()

    async def drain(self) -> None:
        await self.service.drain()


@contextlib.asynccontextmanager
async def front_here(settings: Settings, load: LoadEngine, metrics: Metrics) -> AsyncIterator[Front]:
    """Raises ConfigurationError: the address cannot be listened on, or a file that was named not be used."""
    rate = ServiceRate()
    service = Service(settings, metrics, Admission(settings.queue_size, settings.max_inflight_bytes, rate))
    loader = Loader(service, load, rate, metrics)
    try:
        async with (
            connecting(make_app(service), service) as connections,
            listening(settings, connections) as listener,
        ):
            yield FrontHere(service, loader, listener)
    finally:
        await service.close()
