"""Streams that ask for twice what the engine can do: what each of them gets, and how old its answers are."""

from __future__ import annotations

import asyncio

import numpy as np

from tests.latency.stand_in_device import MAX_BATCH, PACES
from tests.latency.streams.camera import Camera, run_all
from tests.latency.streams.serving import asking, cpu_s, stand_in
from tests.latency.tables import Table
from tests.live_server import LiveServer
from tests.percentile import percentile

_SIDE = 64
_LEAST, _MOST = 0.8, 1.25
_MOST_AGE = 1.5
# Until the first windows are full and every stream has had its turn.
_SETTLED_S = 5.0


def measure(count: int, load: float, seconds: float) -> tuple[Table, bool]:
    """The table, and whether every stream gets its share in time; half of them ask twice as often as the others."""
    batch_s = PACES["gpu"].batch_s(MAX_BATCH)
    best = MAX_BATCH / batch_s
    rarely = load * best / count / 1.5
    rows, holds = [], True
    for turns in ("fair", "fifo"):
        cameras = [
            Camera(_pixels(index), rarely * (1 + index % 2), 1, index / count / rarely, _SIDE, _SIDE)
            for index in range(count)
        ]
        with stand_in("gpu", turns=turns) as server:
            starts_s, used_s = asyncio.run(_run(server, cameras, seconds + _SETTLED_S))
        served = [sum(at_s >= starts_s + _SETTLED_S for at_s in camera.answered_s) for camera in cameras]
        shares = sorted(one * count / sum(served) for one in served)
        # A frame is at most one interval old when its turn comes, and its batch takes its time.
        relative = sorted(age / ((0.95 / camera.fps + batch_s) * 1e3) for camera in cameras for age in camera.ages_ms)
        age = percentile(relative, 95)
        fine = turns == "fifo" or (shares[0] >= _LEAST and shares[-1] <= _MOST and age <= _MOST_AGE)
        holds = holds and fine
        ages_ms = sorted(age_ms for camera in cameras for age_ms in camera.ages_ms)
        rows.append(
            (
                turns,
                f"{sum(served) / seconds / best:.2f}",
                f"{shares[0]:.2f}",
                f"{shares[-1]:.2f}",
                f"{percentile(ages_ms, 50):.0f}",
                f"{percentile(ages_ms, 95):.0f}",
                f"{age:.2f}",
                f"{used_s / (seconds + _SETTLED_S):.0%}",
                "" if fine else "MISSED",
            )
        )
    columns = (
        "turns",
        "of the engine's best",
        "least share",
        "most share",
        "age p50 ms",
        "age p95 ms",
        "p95 of age / unavoidable",
        "of a core",
        "",
    )
    return Table(f"{count} streams at {load:g} times what the stand-in GPU can do", columns, rows), holds


def _pixels(seed: int) -> list[bytes]:
    frames = np.random.default_rng(seed).integers(0, 256, (4, _SIDE, _SIDE, 3), np.uint8)
    return [frame.tobytes() for frame in frames]


async def _run(server: LiveServer, cameras: list[Camera], seconds: float) -> tuple[float, float]:
    """Returns when the cameras began, by the monotonic clock, and the CPU seconds of the server."""
    async with asking(server) as session:
        before_s = cpu_s(server)
        return await run_all(session, cameras, seconds), cpu_s(server) - before_s
