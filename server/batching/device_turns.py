"""Which of several engines on one device starts its next batch: the device is shared in proportion to weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engines.engine import Engine


@dataclass(eq=False, slots=True)
class Account:
    """What all engines of one model had of a device: ``used_s`` seconds divided by their ``weight``."""

    weight: float
    used_s: float = 0.0


class DeviceTurns:
    """The turns of the engines on one device (start-time fair queueing).

    At most as many batches are on the device as one engine has lanes: one computes, the next is prepared. When there
    is room, of the engines that have clips for a batch the one starts whose model had the least of the device so far,
    relative to its weight. A model that had nothing to do gets no credit for that time. So a model that is alone never
    waits, and under overload each gets its share of the device's time, whatever its batches take.

    Invariants: belongs to the event loop. ``_waiting`` are those that were refused; each is woken when there is room
    and it is the next, and then takes its turn or withdraws. ``_now_s`` is the start of the latest turn, as ``used_s``.
    """

    def __init__(self) -> None:
        self._room = 1
        self._running = 0
        self._waiting: dict[Claim, None] = {}
        self._now_s = 0.0

    def claim(self, account: Account, lanes: int, wake: Callable[[], None]) -> Claim:
        """The claim of an engine of so many lanes; ``wake`` is called when it should ask for a turn again."""
        self._room = max(self._room, lanes)
        return Claim(self, account, wake)

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
        claim.account.used_s = self._now_s = self._begin_s(claim)
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
        return max(self._now_s, claim.account.used_s)


class Claim:
    """The claim of one engine on its device."""

    def __init__(self, turns: DeviceTurns, account: Account, wake: Callable[[], None]) -> None:
        self.account = account
        self.wake = wake
        self._turns = turns

    def take(self) -> bool:
        """Whether a batch may start now; if not, ``wake`` is called when to ask again, unless it withdraws."""
        return self._turns.take(self)

    def charge(self, seconds: float) -> None:
        """Count ``seconds`` of the device; less than 0 corrects an estimate."""
        self.account.used_s += seconds / self.account.weight

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


class ModelShares:
    """The shares of one model in ``devices``, by its ``weight``; those of an engine in service and of the next one."""

    def __init__(self, devices: Devices, weight: float) -> None:
        self._devices, self._weight = devices, weight
        self._accounts: dict[str, Account] = {}

    def claim(self, engine: Engine, wake: Callable[[], None]) -> Claim | None:
        """The claim of ``engine`` on its device; None where it takes no turns. ``wake`` as in ``DeviceTurns``."""
        if engine.share is None:
            return None
        account = self._accounts.setdefault(engine.share.device, Account(self._weight))
        return self._devices.turns(engine.share.device).claim(account, engine.lanes, wake)
