"""``python -m tests.latency.low_priority``: what live clips wait longer when clips of low priority take the idle time.

The engine is that of ``tests.latency.lanes``. Live clips come at random, at a share of what the engine can do at best,
alone and then beside clients of low priority that send the next clip as soon as the last one is answered.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from server.batching.batcher import Batcher
from tests.latency.lanes import BEST_CLIPS_PER_S, Sleeper
from tests.percentile import percentile
from tests.server.echo import FAR_S, batching, small_clip

_LANES = (1, 2)
_LOADS = (0.1, 0.3, 0.6, 0.8)
_LOW_CLIENTS = 4
# So much that other programs on the machine do not matter.
_SLOWER = 10


@dataclass(frozen=True)
class Run:
    """Milliseconds of live clips, and clips of low priority a second."""

    p50_ms: float
    p99_ms: float
    low_per_s: float


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    flags.add_argument("--seconds", type=float, default=120)
    runs = asyncio.run(_all(flags.parse_args().seconds))
    print(f"{'live load':14}{'p50 ms':>9}{'p99 ms':>9}{'p50 ratio':>12}{'p99 ratio':>12}{'low a second':>15}")
    for lanes, load in itertools.product(_LANES, _LOADS):
        alone, beside = runs[lanes, load, 0], runs[lanes, load, _LOW_CLIENTS]
        ratios = f"{beside.p50_ms / alone.p50_ms:12.2f}{beside.p99_ms / alone.p99_ms:12.2f}"
        name = f"{load:.0%}, {lanes} lane{'s' * (lanes - 1)}"
        print(f"{name:14}{alone.p50_ms:9.1f}{alone.p99_ms:9.1f}{ratios}{beside.low_per_s:15.1f}")


async def _all(seconds: float) -> dict[tuple[int, float, int], Run]:
    """All runs at once, because their engines only sleep."""
    keys = list(itertools.product(_LANES, _LOADS, (0, _LOW_CLIENTS)))
    runs = await asyncio.gather(*(_run(lanes, load, seconds, low_clients) for lanes, load, low_clients in keys))
    return dict(zip(keys, runs, strict=True))


async def _run(lanes: int, load: float, seconds: float, low_clients: int) -> Run:
    """In the times of the engine, which is ``_SLOWER`` than it says."""
    taken: list[float] = []
    async with batching(Sleeper(lanes, tells=True, slower=_SLOWER)) as batcher:
        low = [asyncio.create_task(_ask_low(batcher)) for _ in range(low_clients)]
        began_s = time.monotonic()
        asked = []
        for due_s in _times_s(load * BEST_CLIPS_PER_S / _SLOWER, seconds):
            await asyncio.sleep(began_s + due_s - time.monotonic())
            asked.append(asyncio.create_task(_ask(batcher, taken)))
        await asyncio.gather(*asked)
        took_s = time.monotonic() - began_s
        answered = [await _ended(task) for task in low]
    p50_ms, p99_ms = (percentile(sorted(taken), percent) / _SLOWER for percent in (50, 99))
    return Run(p50_ms, p99_ms, sum(answered) / took_s * _SLOWER)


def _times_s(clips_per_s: float, seconds: float) -> Iterator[float]:
    """The same times in every run."""
    gaps, now_s = random.Random(0), 0.0
    while now_s < seconds:
        yield now_s
        now_s += gaps.expovariate(clips_per_s)


async def _ask(batcher: Batcher, taken: list[float]) -> None:
    began_s = time.monotonic()
    await batcher.classify(small_clip(1), FAR_S)
    taken.append((time.monotonic() - began_s) * 1e3)


async def _ask_low(batcher: Batcher) -> int:
    """Clips that were answered until the task is cancelled."""
    answered = 0
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await batcher.classify(small_clip(2), FAR_S, "low")
            answered += 1
    return answered


async def _ended(task: asyncio.Task[int]) -> int:
    task.cancel()
    return await task


if __name__ == "__main__":
    main()
