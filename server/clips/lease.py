"""What a request holds, which is given back when nobody works for the request any more."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Self, TypeVar

T = TypeVar("T")


class Lease:
    """Holds the bytes, the slot and the deployment of a request during its block, and then as long as it is kept.

    A thread cannot be stopped, so a decode may go on after its request was answered with 504. What it uses must not be
    given to others, and must not be closed, before it ends. The event loop alone calls the methods.
    """

    def __init__(self) -> None:
        self._held = ExitStack()
        self._users = 0

    def take(self, resource: AbstractContextManager[T]) -> T:
        """Enter ``resource``, which is left when the lease ends; raises what entering raises."""
        return self._held.enter_context(resource)

    def __enter__(self) -> Self:
        self.keep()
        return self

    def __exit__(self, *error: object) -> None:
        self.let_go()

    def keep(self) -> None:
        """Keep everything until the matching ``let_go``."""
        self._users += 1

    def let_go(self) -> None:
        """Undo one ``keep``; the last one gives everything back."""
        self._users -= 1
        if not self._users:
            self._held.close()
