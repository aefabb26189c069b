"""Many cameras at three frames a second on the engine that answers at once: skipped windows, and ages of answers."""

from __future__ import annotations

import asyncio

from tests.latency.payloads import SIDE_PIXELS, bgr_clip, jpegs
from tests.latency.streams.camera import Camera, run_all
from tests.latency.streams.serving import asking, cpu_s, stand_in
from tests.latency.tables import Table
from tests.live_server import LiveServer
from tests.percentile import percentile

FPS = 3.0
_CROP = 256
_MOST_P95_MS = {50: 25.0}


def measure(counts: tuple[int, ...], stride: int, seconds: float) -> tuple[Table, bool]:
    """The table, and whether no window was skipped and the ages are as they must be."""
    images = jpegs(bgr_clip())
    rows, holds = [], True
    for count in counts:
        cameras = [Camera(images, FPS, stride, index / count / FPS) for index in range(count)]
        with stand_in("instant", crop=_CROP) as server:
            used = asyncio.run(_run(server, cameras, seconds))
        ages_ms = sorted(age for camera in cameras for age in camera.ages_ms)
        skipped = sum(camera.skipped for camera in cameras)
        p50, p95 = (percentile(ages_ms, percent) for percent in (50, 95))
        limit = _MOST_P95_MS.get(count)
        fine = skipped == 0 and (limit is None or p95 <= limit)
        holds = holds and fine
        rows.append(
            (
                str(count),
                str(len(ages_ms)),
                str(skipped),
                f"{p50:.1f}",
                f"{p95:.1f}",
                f"{used:.0%}",
                "" if fine else "MISSED",
            )
        )
    columns = ("streams", "predictions", "skipped", "p50 ms", "p95 ms", "of a core", "")
    title = (
        f"Streams of {SIDE_PIXELS} x {SIDE_PIXELS} JPEGs at {FPS:g} frames a second and a stride of {stride}, engine at"
        " once: from a window's last frame to its answer"
    )
    return Table(title, columns, rows), holds


async def _run(server: LiveServer, cameras: list[Camera], seconds: float) -> float:
    """Returns the share of a core that the server used."""
    async with asking(server) as session:
        before_s = cpu_s(server)
        await run_all(session, cameras, seconds)
        return (cpu_s(server) - before_s) / seconds
