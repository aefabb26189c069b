"""The queue of clips that wait for an engine: first in, first out, with a high priority that starves nobody."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from engines.clip import Clip
from server.telemetry.phases import ClipTimes

Priority = Literal["high", "normal"]

# At most this many clips of high priority are taken in a row while clips of normal priority wait.
HIGH_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Classified:
    """``probabilities``: float32 [labels]; ``times`` covers the phases from the queue to the end of the network."""

    probabilities: npt.NDArray[np.float32]
    times: ClipTimes


@dataclass(eq=False, slots=True)
class Job:
    """A clip and the future of its answer; ``deadline_s`` and ``queued_at_s`` are times of the event loop's clock.

    ``started``: the clip has been given to an engine. ``tried``: it was in an engine that got lost.
    """

    clip: Clip
    priority: Priority
    deadline_s: float
    answer: asyncio.Future[Classified]
    queued_at_s: float = field(default_factory=time.monotonic)
    started: bool = False
    tried: bool = False

    @property
    def wanted(self) -> bool:
        """Whether a client still waits for the answer and its deadline has not passed."""
        return not self.answer.done() and time.monotonic() < self.deadline_s


class ClipQueue:
    """Waiting jobs by priority. The queue has no limit of its own, because admission bounds the number of clips.

    Invariants: all calls come from the event loop; only the batcher's task calls ``take``. A job is in at most one
    place of one lane, and jobs of a lane are in the order of their arrival. At most ``HIGH_IN_A_ROW`` jobs of high
    priority are taken in a row while one of normal priority waits.
    """

    def __init__(self) -> None:
        self._lanes: dict[Priority, OrderedDict[Job, None]] = {"high": OrderedDict(), "normal": OrderedDict()}
        self._high_in_a_row = 0

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    def put(self, job: Job) -> None:
        self._lanes[job.priority][job] = None

    def put_back(self, jobs: list[Job]) -> None:
        """Put ``jobs`` of a lost engine before all others, because they have waited already."""
        for job in reversed(jobs):
            job.tried = True
            self._lanes[job.priority][job] = None
            self._lanes[job.priority].move_to_end(job, last=False)

    def discard(self, job: Job) -> None:
        """Remove ``job`` if it is in the queue."""
        self._lanes[job.priority].pop(job, None)

    @property
    def oldest_s(self) -> float:
        """When the oldest job was queued, by the event loop's clock; the queue must not be empty."""
        return min(next(iter(lane)).queued_at_s for lane in self._lanes.values() if lane)

    def take(self, count: int) -> list[Job]:
        """Remove and return the next jobs, at most ``count``; jobs that are no longer wanted are dropped."""
        jobs: list[Job] = []
        while len(jobs) < count and len(self):
            job = self._next()
            if job.wanted:
                jobs.append(job)
        return jobs

    def take_all(self) -> list[Job]:
        """Remove and return all jobs, wanted or not."""
        jobs = [job for lane in self._lanes.values() for job in lane]
        for lane in self._lanes.values():
            lane.clear()
        return jobs

    def _next(self) -> Job:
        high, normal = self._lanes["high"], self._lanes["normal"]
        if high and (not normal or self._high_in_a_row < HIGH_IN_A_ROW):
            self._high_in_a_row += 1
            return high.popitem(last=False)[0]
        self._high_in_a_row = 0
        return normal.popitem(last=False)[0]
