"""``python -m tests.latency.load [BUNDLE]``: the service under 1 to 32 clients, beside its engine alone.

Throughput as a ratio to the engine's own at its best batch, which is measured right before and right after. Each client
sends a clip as soon as it has the answer to the last; the clients run on this machine too and take their share of it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engines.clip import Clip
from engines.engine import Engine
from engines.runtimes.default_bundle import default_bundle
from engines.runtimes.registry import load_engine
from engines.storage.bundle import find_bundle, open_bundle
from tests.live_server import LiveServer, serving
from tests.percentile import percentile
from tests.server.peers import Peer, encoded, post_head

CLIENTS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Run:
    """Clips a second, and milliseconds of every request in rising order."""

    clips_per_s: float
    latencies_ms: list[float]


def main() -> int:
    flags = _parser().parse_args()
    bundle = find_bundle(flags.bundle) if flags.bundle else default_bundle().path
    engine = load_engine(open_bundle(bundle))
    shape = (engine.manifest.frames, flags.height, flags.width, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    size = f"{len(frames)} frames of {flags.width} x {flags.height}"
    print(f"{bundle.name} on {engine.device_name}, {engine.precision}; {size}\n")
    batch = _best_batch(engine, frames, flags.seconds / 2)
    print("\nclients   clips/s    engine     ratio    p50 ms    p95 ms    p99 ms")
    with serving(bundle, "--deadline-ms", "600000") as server:
        asyncio.run(ask(server, encoded(frames), 2, flags.seconds / 2))
        for clients in CLIENTS:
            before = engine_clips_per_s(engine, frames, batch, flags.seconds / 4)
            run = asyncio.run(ask(server, encoded(frames), clients, flags.seconds))
            after = engine_clips_per_s(engine, frames, batch, flags.seconds / 4)
            _print(clients, run, (before + after) / 2)
    return 0


def engine_clips_per_s(engine: Engine, frames: np.ndarray, batch: int, seconds: float) -> float:
    """Of the engine alone; ``frames``: uint8 [T, H, W, 3]."""
    clips = [Clip(frames, "RGB")] * batch
    engine.infer(clips)
    calls, began_s = 0, time.perf_counter()
    while (took_s := time.perf_counter() - began_s) < seconds:
        engine.infer(clips)
        calls += 1
    return calls * batch / took_s


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


def _best_batch(engine: Engine, frames: np.ndarray, seconds: float) -> int:
    measured = {}
    for batch in _batches(engine.manifest.max_batch):
        measured[batch] = engine_clips_per_s(engine, frames, batch, seconds)
        print(f"engine alone, batch {batch:3}   {measured[batch]:8.2f} clips/s")
    return max(measured, key=lambda batch: measured[batch])


def _batches(most: int) -> Iterator[int]:
    batch = 1
    while batch < most:
        yield batch
        batch *= 2
    yield most


def _print(clients: int, run: Run, engine: float) -> None:
    percentiles = "".join(f"{percentile(run.latencies_ms, percent):10.1f}" for percent in (50, 95, 99))
    print(f"{clients:7}{run.clips_per_s:10.2f}{engine:10.2f}{run.clips_per_s / engine:10.0%}{percentiles}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="just bench load", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", nargs="?", help="as of `just serve`; default: the newest built here, else the demo")
    parser.add_argument("--seconds", type=float, default=10, help="for each number of clients (default: 10)")
    parser.add_argument("--width", type=int, default=240, help="of a frame, in pixels (default: 240)")
    parser.add_argument("--height", type=int, default=240, help="of a frame, in pixels (default: 240)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
