"""Which of several engines on one device starts its next batch: the device is shared in proportion to weights."""

from __future__ import annotations

from collections.abc import Callable


class DeviceTurns:
    """The turns of the engines on one device (start-time fair queueing).

    At most as many batches are on the device as one engine has lanes: one computes, the next is prepared. When there
    is room, of the engines that have clips for a batch the one starts that had the least of the device so far, relative
    to its weight. An engine that had nothing to do gets no credit for that time. So an engine that is alone never
    waits, and under overload each gets its share of the device's time, whatever its batches take.

    Invariants: belongs to the event loop. ``_waiting`` are those that were refused; each is woken when there is room
    and it is the next, and then takes its turn or withdraws. ``_now_s`` is the start of the latest turn, in seconds of
    the device divided by weights.
    """

    def __init__(self) -> None:
        self._room = 1
        self._running = 0
        self._waiting: dict[Claim, None] = {}
        self._now_s = 0.0

    def claim(self, weight: float, lanes: int, wake: Callable[[], None]) -> Claim:
        """The claim of an engine of so many lanes; ``wake`` is called when it should ask for a turn again."""
        self._room = max(self._room, lanes)
        return Claim(self, weight, wake)

    def take(self, claim: Claim) -> bool:
        """Whether ``claim`` has a turn now; else it waits."""
        self._waiting[claim] = None
        if self._running >= self._room:
            return False
        first = self._first()
        if first is not claim:
            first.wake()
            return False
        del self._waiting[claim]
        claim.used_s = self._now_s = self._begin_s(claim)
        self._running += 1
        return True

    def give_back(self) -> None:
        """A turn has ended."""
        self._running -= 1
        self._wake_first()

    def withdraw(self, claim: Claim) -> None:
        """``claim`` waits no longer."""
        if claim in self._waiting:
            del self._waiting[claim]
            self._wake_first()

    def _wake_first(self) -> None:
        if self._waiting and self._running < self._room:
            self._first().wake()

    def _first(self) -> Claim:
        return min(self._waiting, key=self._begin_s)

    def _begin_s(self, claim: Claim) -> float:
        return max(self._now_s, claim.used_s)


class Claim:
    """What one engine has of a device; ``used_s``: how much it had, divided by its weight."""

    def __init__(self, turns: DeviceTurns, weight: float, wake: Callable[[], None]) -> None:
        self.used_s = 0.0
        self.wake = wake
        self._turns, self._weight = turns, weight

    def take(self) -> bool:
        """Whether a batch may start now; if not, ``wake`` is called when to ask again, unless it withdraws."""
        return self._turns.take(self)

    def charge(self, seconds: float) -> None:
        """Count ``seconds`` of the device; less than 0 corrects an estimate."""
        self.used_s += seconds / self._weight

    def give_back(self) -> None:
        """The batch has ended."""
        self._turns.give_back()

    def withdraw(self) -> None:
        """There is nothing to start any more."""
        self._turns.withdraw(self)


class Devices:
    """The turns of every device of the process, by its name."""

    def __init__(self) -> None:
        self._turns: dict[str, DeviceTurns] = {}

    def turns(self, device: str) -> DeviceTurns:
        return self._turns.setdefault(device, DeviceTurns())
