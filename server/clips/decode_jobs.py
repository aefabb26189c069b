"""What decode threads work at: requests, their jobs, and the numbers that the jobs of one request share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

T = TypeVar("T")
# Work that may give its thread to others at each ``yield``, and does so until what it yields has ended.
Steps = Generator["Shared | None", None, T]

# A request that has used this much CPU time gives way to those that have used less. A clip of 16 JPEGs of
# 240 x 240 pixels takes 5 ms.
_SHORT_S = 0.05


class Request:
    """How much CPU time a request has taken; threads may add at once, and then an addition may be lost."""

    def __init__(self) -> None:
        self.used_s = 0.0
        self.cancelled = False

    @property
    def is_long(self) -> bool:
        return self.used_s > _SHORT_S

    @property
    def gives_way(self) -> bool:
        """Whether others go first; of a cancelled request only the end is left."""
        return self.is_long and not self.cancelled


class Job:
    """Steps for a request, which begin in the thread that comes to them first."""

    def __init__(self, request: Request, begin: Callable[[], Steps[None]]) -> None:
        self.request = request
        self._begin: Callable[[], Steps[None]] | None = begin
        self._steps: Steps[None] = iter(())  # type: ignore[assignment]
        self.waits_for: Shared | None = None

    def step(self) -> bool:
        """Do the next step; return whether there are more."""
        if self._begin is not None:
            self._steps, self._begin = self._begin(), None
        try:
            self.waits_for = next(self._steps)
        except StopIteration:
            return False
        return True


class NotNowError(Exception):
    """The work has to give way before it begins."""


class Seat:
    """What a thread is doing: for which ``request``, and since when at its current step."""

    def __init__(self) -> None:
        self.request: Request | None = None
        self.began_s: float | None = None

    def work_at(self, job: Job) -> bool:
        """Do steps of ``job`` until it ends, or has taken long; return whether there are more."""
        current.request = job.request
        more = True
        while more:
            used_s, self.began_s = time.thread_time(), time.monotonic()
            more = job.step()
            job.request.used_s += time.thread_time() - used_s
            if job.request.is_long or job.waits_for:
                break
        self.began_s = current.request = None
        return more


class _Current(threading.local):
    """The request that this thread works for."""

    request: Any = None


current = _Current()


class Shared:
    """The numbers below ``count``, given out in order to the threads that are free, until the work with one fails."""

    def __init__(self, work: Callable[[int], None], count: int, request: Request, put: Callable[[Job], None]) -> None:
        self._work = work
        self._numbers = iter(range(count))
        self._postponed: list[int] = []
        self._request = request
        self._errors: dict[int, Exception] = {}
        self._put = put
        self._parked: Job | None = None
        self._lock = threading.Lock()
        self._running = 0

    @property
    def ended(self) -> bool:
        """Whether no work runs and none is to come."""
        with self._lock:
            return not self._running and not (self._wanted and self._postponed)

    @property
    def _wanted(self) -> bool:
        return not self._errors and not self._request.cancelled

    def take(self) -> Steps[None]:
        """Work with a number in each step."""
        while (number := self._begin()) is not None:
            try:
                self._work(number)
            except NotNowError:
                self._postponed.append(number)
            except Exception as error:
                self._errors[number] = error
            finally:
                self._finish()
            yield None

    def park(self, job: Job) -> bool:
        """Put ``job`` back when no work runs any more; return False if none runs now."""
        with self._lock:
            if self._running:
                self._parked = job
            return self._parked is job

    def raise_first(self) -> None:
        """Raise the error of the lowest number, which a loop would meet too: lower numbers were given out before."""
        if not self._errors:
            return
        first = self._errors[min(self._errors)]
        self._errors.clear()  # their tracebacks hold this object
        try:
            raise first
        finally:
            del first

    def _begin(self) -> int | None:
        with self._lock:
            if not self._wanted:
                return None
            number = self._postponed.pop() if self._postponed else next(self._numbers, None)
            self._running += number is not None
            return number

    def _finish(self) -> None:
        with self._lock:
            self._running -= 1
            if self._running:
                return
            parked, self._parked = self._parked, None
        if parked is not None:
            self._put(parked)
