"""Room for one window between the reader of a stream and the one that answers its windows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from server.streams.events import Span
from server.streams.frames import StreamFrame
from server.streams.model_input import ModelInput
from server.streams.still_gate import Verdict


@dataclass(slots=True)
class DueWindow:
    """A window whose frames are there since ``due_s`` and decoded since ``decoded_s``, by the event loop's clock.

    ``takes``: for which models it was made. ``verdict``: of the gate for still windows, once it was asked.
    """

    span: Span
    frames: tuple[StreamFrame, ...]
    takes: ModelInput
    due_s: float
    decoded_s: float = 0.0
    verdict: Verdict | None = None


class WindowSlot:
    """Room for one window that is due.

    Invariant: ``_due`` is set by the reader of the stream and cleared by the one that answers, under ``_changed``.
    """

    def __init__(self) -> None:
        self._due: DueWindow | None = None
        self._ended = False
        self._changed = asyncio.Condition()

    async def put(self, due: DueWindow) -> None:
        """Wait until there is room."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._due is None)
            self._due = due
            self._changed.notify_all()

    async def replace(self, due: DueWindow) -> DueWindow | None:
        """Put ``due`` in place of a window that nobody has taken, which is returned."""
        async with self._changed:
            passed, self._due = self._due, due
            self._changed.notify_all()
            return passed

    async def filled(self) -> None:
        """Wait for a window."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._due is not None)

    def take_now(self) -> DueWindow | None:
        """The window that is there, if any. Nobody waits for room then, because ``put`` belongs to another policy."""
        due, self._due = self._due, None
        return due

    def put_back(self, due: DueWindow) -> bool:
        """Undo ``take_now``; return False if a newer window has come."""
        if self._due is None:
            self._due = due
        return self._due is due

    async def take(self) -> DueWindow | None:
        """Wait for the next window; None after ``end`` and the last window."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._due is not None or self._ended)
            due, self._due = self._due, None
            self._changed.notify_all()
            return due

    async def end(self) -> None:
        async with self._changed:
            self._ended = True
            self._changed.notify_all()
