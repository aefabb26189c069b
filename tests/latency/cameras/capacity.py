"""Raises the number of cameras until answers are too old or windows are skipped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import aiohttp

from engines.storage.bundle import DEMO
from tests.latency.cameras.posting import PostingCamera
from tests.latency.payloads import bgr_clip, jpegs
from tests.latency.streams.camera import Camera, run_all
from tests.latency.streams.serving import FLAGS, asking, stand_in
from tests.live_server import LiveServer, serving
from tests.percentile import percentile

ENGINES = ("gpu", "demo")
TRANSPORTS = ("stream", "clips")
_CROP = 256
# To which the short edge of a frame is resized by the stand-in, as by a ViT-L, and by the demo.
_SIDES = {"gpu": 292, "demo": 73}


@dataclass(frozen=True)
class Effort:
    """Frames a second and seconds of a run; the first and the most cameras, and how near the answer is to be."""

    fps: float
    seconds: float
    first: int
    most: int
    ratio: float


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    engine: str
    transport: str
    stride: int


@dataclass(frozen=True)
class Run:
    """So many cameras: the p95 age of their answers, without any answers infinite, and their skipped windows."""

    cameras: int
    p95_ms: float
    skipped: int
    predictions_per_s: float

    def holds(self, age_ms: float) -> bool:
        return self.skipped == 0 and self.p95_ms <= age_ms


@dataclass(frozen=True)
class Found:
    """All ``runs`` of a case, and the one with the most cameras that held, if any; ``more``: so do more, perhaps."""

    case: Case
    held: Run | None
    more: bool
    runs: list[Run] = field(default_factory=list)


def find(case: Case, age_ms: float, effort: Effort, report: Callable[[str], None]) -> Found:
    """Measure a case with more and more cameras, which shrink their frames as far as the model wants."""
    images = jpegs(bgr_clip(_SIDES[case.engine]))
    runs: list[Run] = []

    def holds(cameras: int) -> bool:
        with _server(case.engine) as server:
            runs.append(asyncio.run(_run(server, case, images, cameras, effort)))
        last = runs[-1]
        report(f"{case.engine}, {case.transport}, stride {case.stride}: {cameras} cameras, p95 {last.p95_ms:.0f} ms")
        return last.holds(age_ms)

    most = search(holds, effort)
    held = next((run for run in runs if run.cameras == most), None)
    return Found(case, held, most == effort.most, sorted(runs, key=lambda run: run.cameras))


def search(holds: Callable[[int], bool], effort: Effort) -> int:
    """The most cameras that hold: their number is doubled until they do not, then searched between; 0 if one does not.

    It is right but for the factor ``effort.ratio``, and not more than ``effort.most``.
    """
    most, failed = 0, effort.first
    while holds(failed):
        most, failed = failed, min(2 * failed, effort.most)
        if most == failed:
            return most
    while failed - most > 1 and failed > effort.ratio * most:
        middle = (most + failed) // 2
        most, failed = (middle, failed) if holds(middle) else (most, middle)
    return most


def _server(engine: str) -> AbstractContextManager[LiveServer]:
    return serving(DEMO, *FLAGS) if engine == "demo" else stand_in(engine, crop=_CROP)


async def _run(server: LiveServer, case: Case, images: Sequence[bytes], count: int, effort: Effort) -> Run:
    kind = Camera if case.transport == "stream" else PostingCamera
    # The phases differ, as those of real cameras do.
    period_s = case.stride / effort.fps
    cameras = [kind(images, effort.fps, case.stride, period_s * index / count) for index in range(count)]
    try:
        async with asking(server) as session:
            await run_all(session, cameras, effort.seconds)
    except* (aiohttp.ClientError, RuntimeError):
        # The service turned cameras away.
        cameras = []
    ages_ms = sorted(age for camera in cameras for age in camera.ages_ms)
    p95_ms = percentile(ages_ms, 95) if ages_ms else float("inf")
    return Run(count, p95_ms, sum(camera.skipped for camera in cameras), len(ages_ms) / effort.seconds)
