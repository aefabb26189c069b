"""The latest events of all streams, encoded once for all who watch.

Nothing is kept for a watcher: each has the number of the last event that it got. One that is too slow for the ring of
events gets the state of all streams instead of the events that it missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Iterator
from uuid import uuid4

from server.api.watching import messages
from server.api.watching.stream_record import StreamRecord
from server.streams.events import Event
from server.streams.streams import OpenStream

_MOST_EVENTS = 1024


class EventFeed:
    """Is told of all streams (a ``Watcher``), and tells those who watch.

    Invariants: all attributes belong to the event loop. ``_events`` holds the numbers up to ``_last`` without a gap,
    except for those of pictures, of which each stream has only the latest in ``_pictures``. ``_heads`` counts those who
    watch with a head.
    """

    def __init__(self, *, previews: bool) -> None:
        self.previews = previews
        self.watchers = 0
        self._heads = Counter[str]()
        self._life = uuid4().hex[:8]
        self._last = 0
        self._dropped = 0
        self._events: deque[tuple[int, bytes]] = deque()
        self._records: dict[str, StreamRecord] = {}
        self._pictures: dict[str, tuple[int, bytes]] = {}
        self._news = asyncio.Event()

    @property
    def wants_pictures(self) -> bool:
        return self.previews and self.watchers > 0

    def opened(self, stream: OpenStream) -> None:
        record = self._records[stream.id] = StreamRecord(stream, self._heads.keys)
        self._add(messages.Opened(stream=record.state()))

    def told(self, stream: OpenStream, event: Event) -> None:
        self._add(self._records[stream.id].told(event))

    def closed(self, stream: OpenStream) -> None:
        del self._records[stream.id]
        self._pictures.pop(stream.id, None)
        self._add(messages.Closed(session=stream.id, at_s=time.time()))

    @contextlib.contextmanager
    def watched(self, head: str | None) -> Iterator[None]:
        """Somebody watches during the block, also with the labels of ``head``; without anybody no pictures are kept."""
        self.watchers += 1
        self._heads.update([head] if head else [])
        try:
            yield
        finally:
            self.watchers -= 1
            self._heads -= Counter([head] if head else [])
            if not self.watchers:
                self._forget_pictures()

    def place_of(self, event_id: str) -> int | None:
        """The number of the event of that id; None if it is of another life of the service or no id at all."""
        life, _, number = event_id.partition("-")
        return int(number) if life == self._life and number.isascii() and number.isdigit() else None

    async def news(self, after: int) -> None:
        """Wait for an event after the one of that number."""
        while self._last <= after:
            await self._news.wait()

    def since(self, after: int | None) -> tuple[bytes, int]:
        """The events after the one of that number, and the number of the last; the state of all streams for None."""
        self._gather_pictures()
        if after is None or not self._dropped <= after <= self._last:
            state = messages.Streams(
                previews=self.previews, streams=[record.state() for record in self._records.values()]
            )
            parts = [messages.encoded(state, self._id(self._last)), *(jpeg for _, jpeg in self._pictures.values())]
        else:
            missed = [data for number, data in self._events if number > after]
            parts = [*missed, *(data for number, data in self._pictures.values() if number > after)]
        return b"".join(parts), self._last

    def _add(self, message: messages.Message) -> None:
        self._last += 1
        self._events.append((self._last, messages.encoded(message, self._id(self._last))))
        if len(self._events) > _MOST_EVENTS:
            self._dropped, _ = self._events.popleft()
        self._news.set()
        self._news = asyncio.Event()

    def _gather_pictures(self) -> None:
        for session, record in self._records.items():
            if (taken := record.new_picture()) is not None:
                self._last += 1
                self._pictures[session] = (self._last, messages.encoded(taken))

    def _forget_pictures(self) -> None:
        self._pictures.clear()
        for record in self._records.values():
            record.stream.session.pictures.forget()

    def _id(self, number: int) -> str:
        return f"{self._life}-{number}"
