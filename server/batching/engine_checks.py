"""Clips for one engine only, with which it is checked while it serves."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass

from engines.clip import Clip
from server.batching.clip_queue import Job
from server.batching.engine_instance import EngineInstance


@dataclass(frozen=True, slots=True)
class _Check:
    """From ``latest_s`` on (the loop's clock) the clip goes before the clips of clients."""

    job: Job
    latest_s: float


class EngineChecks:
    """The checks that wait, at most one for each engine.

    Invariant: belongs to the event loop.
    """

    def __init__(self) -> None:
        self._waiting: dict[EngineInstance, _Check] = {}

    def __contains__(self, instance: EngineInstance) -> bool:
        return instance in self._waiting

    def put(self, instance: EngineInstance, clip: Clip, latest_s: float) -> Job:
        """A check of ``instance``, which has none that waits; from ``latest_s`` on it goes before all clips."""
        job = Job(clip, "normal", math.inf, asyncio.get_running_loop().create_future(), tried=True)
        self._waiting[instance] = _Check(job, latest_s)
        return job

    def due(self, *, nothing_waits: bool) -> EngineInstance | None:
        """An engine whose check may start now; ``nothing_waits``: no client waits for an engine."""
        return next((one for one in self._waiting if self.is_due(one, nothing_waits=nothing_waits)), None)

    def is_due(self, instance: EngineInstance, *, nothing_waits: bool) -> bool:
        """Whether a check of ``instance`` waits and may start now."""
        check = self._waiting.get(instance)
        if check is None or not instance.has_room:
            return False
        return (instance.is_idle and nothing_waits) or time.monotonic() >= check.latest_s

    def take(self, instance: EngineInstance) -> list[Job]:
        """Remove and return the check of ``instance``, if one waits."""
        check = self._waiting.pop(instance, None)
        return [] if check is None else [check.job]
