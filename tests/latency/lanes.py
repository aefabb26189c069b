"""``python -m tests.latency.lanes``: what a second lane is worth, and when a busy engine should be given few clips.

Before the batcher stands an engine that sleeps as long as a GPU would work: preparation in each lane, networks one
after the other. One lane; two that are always filled at once; two for which clips gather while that costs nothing.
Clips come at random, at a share of what the engine can do at best, or from clients that wait for their answers.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from engines.clip import Clip
from engines.engine import Inference
from server.batching.batcher import Batcher
from tests.percentile import percentile
from tests.server.echo import FAR_S, Echo, batching, small_clip

_MAX_BATCH = 8
# Milliseconds for a batch, and for each of its clips.
_PREPARE_MS = (2.0, 2.0)
_NETWORK_MS = (6.0, 6.0)
_LOADS = (0.3, 0.6, 0.8, 0.95)
_CLIENTS = (1, 4, 8, 16, 32)
BEST_CLIPS_PER_S = _MAX_BATCH / (_NETWORK_MS[0] + _NETWORK_MS[1] * _MAX_BATCH) * 1e3


class Sleeper(Echo):
    """Says that its network took no time unless ``tells``: nobody can know then when it will want the next batch.

    Its times are ``slower`` times those above.
    """

    def __init__(self, lanes: int, *, tells: bool, slower: float = 1) -> None:
        super().__init__(_MAX_BATCH, lanes)
        self._tells = tells
        self._slower = slower
        self._turn = threading.Lock()

    def infer(self, clips: Sequence[Clip]) -> Inference:
        inference = super().infer(clips)
        began_s = time.monotonic()
        time.sleep(_ms(_PREPARE_MS, len(clips)) / 1e3 * self._slower)
        prepared_s = time.monotonic()
        with self._turn:
            turn_s = time.monotonic()
            time.sleep(_ms(_NETWORK_MS, len(clips)) / 1e3 * self._slower)
            ended_s = time.monotonic()
        network_ms = (ended_s - turn_s) * 1e3 if self._tells else 0
        return Inference(
            probabilities=inference.probabilities,
            preprocess_ms=(prepared_s - began_s) * 1e3,
            network_ms=network_ms,
        )


@dataclass(frozen=True)
class Run:
    clips_per_s: float
    p50_ms: float
    p99_ms: float
    clips_per_batch: float


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    flags.add_argument("--seconds", type=float, default=4)
    seconds = flags.parse_args().seconds
    print(f"best: {BEST_CLIPS_PER_S:.0f} clips/s of batches of {_MAX_BATCH}\n")
    print(f"{'':18}{'1 lane':^36}{'2 lanes, at once':^36}{'2 lanes, gathered':^36}")
    print(f"{'':18}" + 3 * f"{'clips/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'batch':>9}")
    for share in _LOADS:
        _row(
            f"{share:.0%} at random",
            [asyncio.run(_random(each, share * BEST_CLIPS_PER_S, seconds)) for each in _engines()],
        )
    for clients in _CLIENTS:
        _row(f"{clients} clients", [asyncio.run(_clients(each, clients, seconds)) for each in _engines()])


def _engines() -> list[Sleeper]:
    return [Sleeper(1, tells=True), Sleeper(2, tells=False), Sleeper(2, tells=True)]


async def _random(engine: Sleeper, clips_per_s: float, seconds: float) -> Run:
    """Open loop: nobody waits for an answer before the next clip comes."""
    gaps = random.Random(0)
    taken: list[float] = []
    async with batching(engine) as batcher:
        began_s = next_s = time.monotonic()
        asked = []
        while next_s - began_s < seconds:
            await asyncio.sleep(next_s - time.monotonic())
            asked.append(asyncio.create_task(_ask(batcher, taken)))
            next_s += gaps.expovariate(clips_per_s)
        await asyncio.gather(*asked)
        return _run(engine, taken, time.monotonic() - began_s)


async def _clients(engine: Sleeper, clients: int, seconds: float) -> Run:
    taken: list[float] = []

    async def client() -> None:
        while time.monotonic() - began_s < seconds:
            await _ask(batcher, taken)

    async with batching(engine) as batcher:
        began_s = time.monotonic()
        await asyncio.gather(*(client() for _ in range(clients)))
        return _run(engine, taken, time.monotonic() - began_s)


async def _ask(batcher: Batcher, taken: list[float]) -> None:
    began_s = time.monotonic()
    await batcher.classify(small_clip(1), FAR_S)
    taken.append((time.monotonic() - began_s) * 1e3)


def _run(engine: Sleeper, taken: list[float], seconds: float) -> Run:
    rising = sorted(taken)
    p50, p99 = (percentile(rising, percent) for percent in (50, 99))
    return Run(len(taken) / seconds, p50, p99, sum(map(len, engine.seen)) / len(engine.seen))


def _row(name: str, runs: list[Run]) -> None:
    columns = (f"{run.clips_per_s:9.1f}{run.p50_ms:9.1f}{run.p99_ms:9.1f}{run.clips_per_batch:9.1f}" for run in runs)
    print(f"{name:18}" + "".join(columns), flush=True)


def _ms(times: tuple[float, float], clips: int) -> float:
    return times[0] + times[1] * clips


if __name__ == "__main__":
    main()
