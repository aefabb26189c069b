"""The queue of clips that wait for an engine: first in, first out, with priorities above and below the usual one."""

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

Priority = Literal["high", "normal", "low"]

# At most this many clips of high priority are taken in a row while clips of normal priority wait.
HIGH_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Classified:
    """``probabilities``: float32 [labels]; ``times`` covers the phases from the queue to the end of the network.

    ``features``: float32 [F]; None where the bundle has none.
    """

    probabilities: npt.NDArray[np.float32]
    times: ClipTimes
    features: npt.NDArray[np.float32] | None = None


@dataclass(eq=False, slots=True)
class StreamShare:
    """The claim of one stream on the engines beside other streams; ``served_s``: when it last had its turn."""

    weight: float
    served_s: float = field(default_factory=time.monotonic)


@dataclass(eq=False, slots=True)
class Job:
    """A clip and the future of its answer; ``deadline_s`` and ``queued_at_s`` are times of the event loop's clock.

    ``share``: the stream that the clip belongs to, if any, which has at most one job in the queue. ``started``: the
    clip has been given to an engine. ``tried``: it was in an engine that got lost.
    """

    clip: Clip
    priority: Priority
    deadline_s: float
    answer: asyncio.Future[Classified]
    share: StreamShare | None = None
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
    priority are taken in a row while one of normal priority waits. ``_streams`` holds the jobs of streams. While both
    single clips and streams wait, they are taken in turns; of the streams, the one goes first that has waited longest
    since its last turn, relative to its weight. So under overload each stream is served in proportion to its weight,
    however often it asks, and neither streams nor clips keep the others out.

    Jobs of low priority are not part of the length, and are taken one at a time and only while nothing else waits: a
    batch of them would keep the next live clip waiting for all of them.
    """

    def __init__(self) -> None:
        self._lanes: dict[Priority, OrderedDict[Job, None]] = {"high": OrderedDict(), "normal": OrderedDict()}
        self._low: OrderedDict[Job, None] = OrderedDict()
        self._high_in_a_row = 0
        self._streams: dict[StreamShare, Job] = {}
        self._stream_is_next = False

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values()) + len(self._streams)

    @property
    def low_priority(self) -> int:
        """Number of jobs of low priority."""
        return len(self._low)

    def put(self, job: Job) -> None:
        if job.share is not None:
            self._streams[job.share] = job
        else:
            self._lane(job)[job] = None

    def put_back(self, jobs: list[Job]) -> None:
        """Put ``jobs`` of a lost engine before all others, because they have waited already."""
        for job in reversed(jobs):
            job.tried = True
            if job.share is not None:
                self._streams[job.share] = job
                continue
            self._lane(job)[job] = None
            self._lane(job).move_to_end(job, last=False)

    def discard(self, job: Job) -> None:
        """Remove ``job`` if it is in the queue."""
        self._lane(job).pop(job, None)
        if job.share is not None:
            self._streams.pop(job.share, None)

    def replace(self, share: StreamShare, clip: Clip) -> bool:
        """Put ``clip`` in place of the waiting one of that stream; return False if none waits."""
        job = self._streams.get(share)
        if job is None:
            return False
        job.clip = clip
        return True

    @property
    def oldest_s(self) -> float:
        """When the oldest job of the length was queued, by the event loop's clock; there must be one."""
        clips = [next(iter(lane)) for lane in self._lanes.values() if lane]
        return min(job.queued_at_s for job in (*clips, *self._streams.values()))

    def take(self, count: int) -> list[Job]:
        """Remove and return the next jobs, at most ``count``; jobs that are no longer wanted are dropped."""
        jobs: list[Job] = []
        while len(jobs) < count and len(self):
            job = self._next()
            if job.wanted:
                jobs.append(job)
        return jobs or self._take_low()

    def take_all(self) -> list[Job]:
        """Remove and return all jobs, wanted or not."""
        lanes = (*self._lanes.values(), self._low)
        jobs = [job for lane in lanes for job in lane] + list(self._streams.values())
        for lane in lanes:
            lane.clear()
        self._streams.clear()
        return jobs

    def _lane(self, job: Job) -> OrderedDict[Job, None]:
        return self._low if job.priority == "low" else self._lanes[job.priority]

    def _take_low(self) -> list[Job]:
        """One wanted job of low priority, if there is any."""
        while self._low:
            job = self._low.popitem(last=False)[0]
            if job.wanted:
                return [job]
        return []

    def _next(self) -> Job:
        clips_wait = any(self._lanes.values())
        if self._streams and (self._stream_is_next or not clips_wait):
            self._stream_is_next = False
            return self._next_of_streams()
        self._stream_is_next = True
        return self._next_clip()

    def _next_of_streams(self) -> Job:
        now_s = time.monotonic()
        share = max(self._streams, key=lambda one: (now_s - one.served_s) * one.weight)
        share.served_s = now_s
        return self._streams.pop(share)

    def _next_clip(self) -> Job:
        high, normal = self._lanes["high"], self._lanes["normal"]
        if high and (not normal or self._high_in_a_row < HIGH_IN_A_ROW):
            self._high_in_a_row += 1
            return high.popitem(last=False)[0]
        self._high_in_a_row = 0
        return normal.popitem(last=False)[0]
