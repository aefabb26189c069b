"""All open streams of the service: how many there may be, and what each does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

from server.clips.lease import Lease
from server.errors import OverloadedError
from server.serving.models.served_model import ServedModel
from server.serving.service import Service
from server.streams.events import Event, Tell
from server.streams.options import StreamOptions
from server.streams.pictures import Pictures
from server.streams.session import Session

_RETRY_S = 5


@dataclass(frozen=True, slots=True)
class OpenStream:
    """A session under the ``id`` by which log and answers name it; ``since_s`` is Unix time."""

    session: Session
    id: str = field(default_factory=lambda: uuid4().hex[:12])
    since_s: float = field(default_factory=time.time)


class Watcher(Protocol):
    """Who is told what happens on all streams, at once and in the event loop."""

    @property
    def wants_pictures(self) -> bool:
        """Whether streams are to keep a picture of what they show."""
        ...

    def opened(self, stream: OpenStream) -> None: ...

    def told(self, stream: OpenStream, event: Event) -> None: ...

    def closed(self, stream: OpenStream) -> None: ...


class Streams:
    """Invariant: belongs to the event loop; ``_open`` holds a stream from its hello until its connection ends."""

    def __init__(self, service: Service, watcher: Watcher) -> None:
        self._service = service
        self._watcher = watcher
        self._open: dict[str, OpenStream] = {}
        service.metrics.watch("vjepa_streams", "Open streams", lambda: len(self._open))

    def __iter__(self) -> Iterator[OpenStream]:
        return iter(tuple(self._open.values()))

    def check(self) -> None:
        """Raises OverloadedError if there are as many streams as there may be."""
        most = self._service.settings.max_streams
        if len(self._open) >= most:
            raise OverloadedError(f"{most} streams are open already (--max-streams)", retry_after_s=_RETRY_S)

    @contextlib.contextmanager
    def opened(self, served: ServedModel, options: StreamOptions, tell: Tell) -> Iterator[OpenStream]:
        """A stream for ``served`` that is open during the block; raises OverloadedError, NotReadyError."""
        self.check()
        pictures = Pictures(lambda: self._watcher.wants_pictures)

        async def tell_all(event: Event) -> None:
            self._watcher.told(stream, event)
            await tell(event)

        with Lease() as lease, self._service.streams.used():
            stream = OpenStream(Session(self._service, served, options, lease, tell_all, pictures))
            self._open[stream.id] = stream
            self._watcher.opened(stream)
            try:
                yield stream
            finally:
                stream.session.close()
                del self._open[stream.id]
                self._watcher.closed(stream)
