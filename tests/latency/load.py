"""``python -m tests.latency.load [BUNDLE]``: the service under 1 to 32 clients, beside its engine alone.

Throughput as a ratio to the engine's own at its best batch, measured before and after in the same run. Each client
sends a clip as soon as it has the answer to the last. The clients run on the same machine and take their share of it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.bundle import open_bundle
from engines.clip import Clip
from engines.engine import Engine
from engines.runtimes import load_engine
from server.flags import find_bundle
from tests.live_server import LiveServer, serving
from tests.server.peers import Peer, encoded, post_head

CLIENTS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Run:
    """Clips a second, and milliseconds of every request in rising order."""

    clips_per_s: float
    latencies_ms: list[float]

    def percentile_ms(self, percent: int) -> float:
        return self.latencies_ms[min(len(self.latencies_ms) - 1, len(self.latencies_ms) * percent // 100)]


def main() -> int:
    flags = _parser().parse_args()
    bundle = find_bundle(flags.bundle)
    engine = load_engine(open_bundle(bundle))
    frames = np.random.default_rng(0).integers(0, 256, (engine.manifest.frames, flags.height, flags.width, 3), np.uint8)
    size = f"{len(frames)} frames of {flags.width} x {flags.height}"
    print(f"{bundle.name} on {engine.device_name}, {engine.precision}; {size}")
    before = engine_clips_per_s(engine, frames, flags.seconds)
    runs = asyncio.run(_serve_and_ask(bundle, encoded(frames), flags.seconds))
    after = engine_clips_per_s(engine, frames, flags.seconds)
    _print(runs, {batch: statistics.mean((before[batch], after[batch])) for batch in before})
    return 0


def engine_clips_per_s(engine: Engine, frames: np.ndarray, seconds: float) -> dict[int, float]:
    """Clips a second at each batch size, from 1 doubling up to the engine's largest; ``frames``: uint8 [T, H, W, 3]."""
    clip = Clip(frames, "RGB")
    return {batch: _repeat(engine, [clip] * batch, seconds) for batch in _batches(engine.manifest.max_batch)}


async def ask(server: LiveServer, body: bytes, clients: int, seconds: float) -> Run:
    """``clients`` connections, each with one request after the other for ``seconds``."""
    latencies_ms: list[float] = []
    ends_s = time.perf_counter() + seconds

    async def client() -> None:
        peer = await Peer.connect(server)
        while (began_s := time.perf_counter()) < ends_s:
            await peer.write(post_head(len(body)), body)
            answer = await peer.answer()
            if answer.status != 200:
                sys.exit(f"answered with {answer.status}: {answer.body}")
            latencies_ms.append((time.perf_counter() - began_s) * 1e3)
        peer.close()

    began_s = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return Run(len(latencies_ms) / (time.perf_counter() - began_s), sorted(latencies_ms))


async def _serve_and_ask(bundle: Path, body: bytes, seconds: float) -> dict[int, Run]:
    with serving(bundle, "--log-level", "info", "--deadline-ms", "600000") as server:
        await ask(server, body, 2, seconds / 2)
        return {clients: await ask(server, body, clients, seconds) for clients in CLIENTS}


def _repeat(engine: Engine, clips: list[Clip], seconds: float) -> float:
    engine.infer(clips)
    calls, began_s = 0, time.perf_counter()
    while (took_s := time.perf_counter() - began_s) < seconds / 2:
        engine.infer(clips)
        calls += 1
    return calls * len(clips) / took_s


def _batches(most: int) -> Iterator[int]:
    batch = 1
    while batch < most:
        yield batch
        batch *= 2
    yield most


def _print(runs: dict[int, Run], engine: dict[int, float]) -> None:
    best = max(engine, key=lambda batch: engine[batch])
    for batch, clips_per_s in engine.items():
        print(f"engine alone, batch {batch:3}   {clips_per_s:8.2f} clips/s{'   best' if batch == best else ''}")
    print("\nclients   clips/s   of engine    p50 ms    p95 ms    p99 ms")
    for clients, run in runs.items():
        percentiles = "".join(f"{run.percentile_ms(percent):10.1f}" for percent in (50, 95, 99))
        print(f"{clients:7}{run.clips_per_s:10.2f}{run.clips_per_s / engine[best]:11.0%} {percentiles}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="just bench load", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", nargs="?", help="as of `just serve`; default: the newest built here, else the demo")
    parser.add_argument("--seconds", type=float, default=10, help="for each number of clients (default: 10)")
    parser.add_argument("--width", type=int, default=240, help="of a frame, in pixels (default: 240)")
    parser.add_argument("--height", type=int, default=240, help="of a frame, in pixels (default: 240)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
