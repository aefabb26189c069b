"""Keeps the capture of a CUDA graph apart from all other CUDA work of the process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class CaptureGate:
    """Threads that submit CUDA work share the gate; a capture has it alone.

    While one thread captures, torch allows no other CUDA work in the process, on any thread and for any engine.
    Waiting for work that was submitted before needs no gate.

    Invariants under ``_changed``: ``_submitting`` counts the threads in ``submitting``, without those that capture, and
    is 0 while ``_capturing``. ``_captures`` counts the captures that run or wait; while there is one, nobody starts to
    submit. A thread in ``submitting`` never waits for another one that may need the gate, so a lock that is held while
    work is submitted is taken before the gate.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._submitting = self._long = self._captures = 0
        self._capturing = False
        self._thread = threading.local()

    @contextlib.contextmanager
    def submitting(self, *, long: bool = False) -> Iterator[None]:
        """In the block this thread submits CUDA work; ``long`` (loading an engine) puts captures off meanwhile."""
        if self._held:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._captures)
            self._submitting, self._long = self._submitting + 1, self._long + long
        self._thread.held = True
        try:
            yield
        finally:
            self._thread.held = False
            with self._changed:
                self._submitting, self._long = self._submitting - 1, self._long - long
                self._changed.notify_all()

    @contextlib.contextmanager
    def capturing(self) -> Iterator[bool]:
        """In the block no other thread submits; False, and no wait, while a long submission is under way."""
        held = self._held
        with self._changed:
            alone = not self._long
            if alone:
                self._captures, self._submitting = self._captures + 1, self._submitting - held
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._capturing and not self._submitting)
                self._capturing = True
        try:
            yield alone
        finally:
            if alone:
                with self._changed:
                    self._capturing = False
                    self._captures, self._submitting = self._captures - 1, self._submitting + held
                    self._changed.notify_all()

    @property
    def _held(self) -> bool:
        return getattr(self._thread, "held", False)


# One for the process, because torch's rule is for the process: during a reload two engines submit.
CAPTURES = CaptureGate()
