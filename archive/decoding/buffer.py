"""What the decoders have made and the engine has not taken yet."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Buffer(Generic[T]):
    """At most ``most`` items from several threads, the ``writers``; ends when all of them have.

    Invariant: a closed buffer holds nothing and takes nothing.
    """

    def __init__(self, most: int, writers: int) -> None:
        self._most = most
        self._writers = writers
        self._items: deque[T] = deque()
        self._error: BaseException | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Wait for room and add ``item``; False if the buffer is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._most)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed

    def take(self, most: int, *, least: int = 1, wait: bool = False) -> list[T]:
        """Take up to ``most`` items, but none while there are fewer than ``least`` and more may come.

        With ``wait``, no items mean that nothing comes any more. Raises what a writer has failed with.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: bool(self._items) or not self._writers or self._error is not None)
            if self._error is not None:
                raise self._error
            if len(self._items) < least and self._writers:
                return []
            taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            self._changed.notify_all()
            return taken

    def end(self, error: BaseException | None = None) -> None:
        """One writer has ended; ``error`` is what it failed with."""
        with self._changed:
            self._writers -= 1
            self._error = self._error or error
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody takes items any more."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
