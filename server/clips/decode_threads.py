"""Threads that decode clips, which would block the event loop; requests take turns at them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, TypeVar

from server.clips.decode_jobs import Job, NotNowError, Request, Seat, Shared, Steps, current
from server.clips.lease import Lease
from server.errors import NotReadyError

T = TypeVar("T")

_RETRY_S = 1
# A request that expects a longer step gives way before it.
_SHORT_STEP_S = 0.02
# The priority of the system for long requests: about a tenth of a core that other threads want too.
LONG_NICENESS = 10


class DecodeThreads:
    """``count`` threads. Work is done in steps, and a request that has taken long gives its thread back after each.

    Requests that have taken less than 50 ms of CPU time are served in the order of their arrival. The others
    follow, one step of each in turn, on all threads but one, so that a clip of costly images delays no cheap one by
    more than a step. They have threads of their own with a lower priority of the system, because a thread without
    privileges can lower its priority but not raise it again; so their steps also leave the cores to the event loop
    and to the engine. A cancelled request ends with its current step.

    Invariants: ``_short``, ``_long``, ``_closed`` and the requests of the seats are changed under the lock. At most
    ``count`` seats have a request. A job is in one of the queues, in one thread or parked at the work that it waits
    for, or has ended.
    """

    def __init__(self, count: int, name: str, stuck_s: float = float("inf")) -> None:
        """A thread counts as stuck while one step takes more than ``stuck_s``."""
        self.count = count
        self._stuck_s = stuck_s
        self._most_long = max(1, count - 1)
        self._short: deque[Job] = deque()
        self._long: deque[Job] = deque()
        self._closed = False
        self._lock = threading.Lock()
        self._short_ready, self._long_ready = threading.Condition(self._lock), threading.Condition(self._lock)
        kinds = {name: count, f"{name}-long": self._most_long}
        self._seats = [Seat() for _ in range(sum(kinds.values()))]
        names = [f"{kind}-{number}" for kind, most in kinds.items() for number in range(most)]
        for number, (seat, title) in enumerate(zip(self._seats, names, strict=True)):
            serve = self._serve if number < count else self._serve_long
            threading.Thread(target=serve, args=(seat,), name=title, daemon=True).start()

    @property
    def stuck(self) -> int:
        """How many threads have been in one step for more than ``stuck_s``."""
        latest_s = time.monotonic() - self._stuck_s
        return sum(began_s is not None and began_s < latest_s for began_s in (seat.began_s for seat in self._seats))

    def check(self) -> None:
        """Raises NotReadyError while all threads are stuck."""
        if self.stuck == self.count:
            raise NotReadyError(
                f"all {self.count} decode threads have been at one image for more than {self._stuck_s:g} s each",
                retry_after_s=_RETRY_S,
            )

    async def run(self, work: Callable[..., T | Steps[T]], *arguments: Any, lease: Lease | None = None) -> T:
        """Run ``work(*arguments)``, and the steps that it returns if it does, in the threads; return the result.

        When the call is cancelled, ``lease`` is kept until no thread works for it any more. Raises NotReadyError while
        all threads are stuck.
        """
        self.check()
        done: Future[T] = Future()
        job = Job(Request(), functools.partial(_resolve, done, work, arguments))
        self._put(job)
        try:
            return await asyncio.wrap_future(done)
        except asyncio.CancelledError:
            self._cancel(job, done, lease)
            raise
        finally:
            # The traceback of an error holds this frame, which would hold the error and the arguments.
            del done, job

    def for_each(self, work: Callable[[int], None], count: int) -> Steps[None]:
        """Run ``work`` with each number below ``count``, a number a step, on this thread and on free ones.

        Raises the error of the lowest number that failed, when none of the work runs any more.
        """
        request = current.request
        shared = Shared(work, count, request, self._put)
        helpers = [Job(request, shared.take) for _ in range(min(self.count, count) - 1)]
        self._put(*helpers)
        yield from shared.take()
        while not shared.ended:
            yield shared
            yield from shared.take()
        self._withdraw(helpers)
        shared.raise_first()

    def expect(self, step_s: float) -> None:
        """To be called by work of ``for_each``: a request that expects a long step gives way before it.

        The call of the work then ends here, and comes again when it is its turn.
        """
        request = current.request
        if step_s > _SHORT_STEP_S and not request.is_long:
            request.used_s = float("inf")
            raise NotNowError

    def close(self) -> None:
        """Take no more work; running work is not waited for."""
        with self._lock:
            self._closed = True
            self._short_ready.notify_all()
            self._long_ready.notify_all()

    def _serve(self, seat: Seat) -> None:
        self._work(seat, self._next_short, self._short_ready)

    def _serve_long(self, seat: Seat) -> None:
        _lower_priority()
        self._work(seat, self._next_long, self._long_ready)

    def _work(self, seat: Seat, next_job: Callable[[], Job | None], ready: threading.Condition) -> None:
        while (job := self._take(seat, next_job, ready)) is not None:
            if seat.work_at(job) and not (job.waits_for and job.waits_for.park(job)):
                self._put(job)

    def _take(self, seat: Seat, next_job: Callable[[], Job | None], ready: threading.Condition) -> Job | None:
        """Wait for the next job; None when the threads are closed."""
        with self._lock:
            seat.request = None
            while (job := next_job()) is None and not self._closed:
                self._notify()
                ready.wait()
            if job is None or self._closed:
                return None
            seat.request = job.request
            self._notify()
            return job

    def _notify(self) -> None:
        """Wake a thread that may take a job now, if there is one; called under the lock."""
        if self._has_room():
            (self._short_ready if self._short else self._long_ready).notify()

    def _has_room(self) -> bool:
        return sum(seat.request is not None for seat in self._seats) < self.count

    def _next_short(self) -> Job | None:
        """The job whose turn it is, of a request that has not taken long."""
        while self._short and self._has_room():
            job = self._short.popleft()
            if not job.request.gives_way:
                return job
            self._long.append(job)
        return None

    def _next_long(self) -> Job | None:
        """The job whose turn it is, of a request that has taken long; None while others wait."""
        if not self._long or self._short or not self._has_room():
            return None
        at_long = sum(seat.request is not None and seat.request.is_long for seat in self._seats)
        return self._long.popleft() if at_long < self._most_long else None

    def _put(self, *jobs: Job) -> None:
        with self._lock:
            for job in jobs:
                long = job.request.gives_way
                (self._long if long else self._short).append(job)
                (self._long_ready if long else self._short_ready).notify()

    def _withdraw(self, jobs: list[Job]) -> None:
        with self._lock:
            for queue in (self._short, self._long):
                for job in set(queue).intersection(jobs):
                    queue.remove(job)

    def _cancel(self, job: Job, done: Future[Any], lease: Lease | None) -> None:
        """Withdraw ``job``, or if it has begun, end it after its current step and keep ``lease`` until then."""
        if lease is not None and not done.cancelled():
            lease.keep()
            done.add_done_callback(functools.partial(_let_go, asyncio.get_running_loop(), lease))
        with self._lock:
            job.request.cancelled = True
            if done.cancelled() and job in self._short:
                self._short.remove(job)
            elif job in self._long:  # between two steps
                self._long.remove(job)
                self._short.append(job)
                self._short_ready.notify()


def _lower_priority() -> None:
    """Let other threads go first at the cores. Only Linux has priorities of threads."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LONG_NICENESS)


def _resolve(done: Future[Any], work: Callable[..., Any], arguments: tuple[Any, ...]) -> Steps[None]:
    """Do ``work(*arguments)`` and the steps that it returns, if it does, and resolve ``done``."""
    result = None
    try:
        if done.set_running_or_notify_cancel():
            result = work(*arguments)
            arguments = ()
            if isinstance(result, Generator):
                result = yield from result
            done.set_result(result)
    except BaseException as error:
        done.set_exception(error)
    finally:
        # The traceback of an error holds this frame.
        del done, work, arguments, result


def _let_go(loop: asyncio.AbstractEventLoop, lease: Lease, _: Future[Any]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended before the work
        loop.call_soon_threadsafe(lease.let_go)
