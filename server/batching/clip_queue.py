"""Clips that wait for the engine: first come, first served, with one faster lane that cannot starve the other."""

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

# So many of high priority are taken in a row while others wait.
HIGH_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Classified:
    """``probabilities``: float32 [labels]; ``times`` holds the phases from the queue to the end of the network."""

    probabilities: npt.NDArray[np.float32]
    times: ClipTimes


@dataclass(eq=False, slots=True)
class Job:
    """A clip and who waits for its answer; ``deadline_s`` and ``queued_at_s`` are times of the event loop's clock.

    ``started``: it is in an engine, or was; ``tried``: it was in one that got lost.
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
        """Whether somebody still waits and can be answered in time."""
        return not self.answer.done() and time.monotonic() < self.deadline_s


class ClipQueue:
    """Unbounded by itself: admission bounds it. One task takes, any may put."""

    def __init__(self) -> None:
        self._lanes: dict[Priority, OrderedDict[Job, None]] = {"high": OrderedDict(), "normal": OrderedDict()}
        self._high_in_a_row = 0

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    def put(self, job: Job) -> None:
        self._lanes[job.priority][job] = None

    def put_back(self, jobs: list[Job]) -> None:
        """Before all others: ``jobs`` of an engine that got lost, which have waited already."""
        for job in reversed(jobs):
            job.tried = True
            self._lanes[job.priority][job] = None
            self._lanes[job.priority].move_to_end(job, last=False)

    def discard(self, job: Job) -> None:
        """Take ``job`` out, wherever it stands."""
        self._lanes[job.priority].pop(job, None)

    @property
    def oldest_s(self) -> float:
        """Since when the first has waited, of those there must be one."""
        return min(next(iter(lane)).queued_at_s for lane in self._lanes.values() if lane)

    def take(self, most: int) -> list[Job]:
        """The next ``most`` that are still wanted; the others are dropped."""
        jobs: list[Job] = []
        while len(jobs) < most and len(self):
            job = self._next()
            if job.wanted:
                jobs.append(job)
        return jobs

    def take_all(self) -> list[Job]:
        """Everything that waits, wanted or not."""
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
