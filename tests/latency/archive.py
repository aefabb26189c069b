"""``python -m tests.latency.archive``: how near a run over many recordings comes to the engine's own best.

The engine alone classifies windows that lie in memory, before and after each run; the run decodes its recordings in
processes beside it. Printed are windows per second of both, their ratio, and the share of the time in which the engine
was busy.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from archive.busy import BusyTime
from archive.classification import classify
from archive.decoding.job import Sampling
from archive.video import Scored, local_video
from engines.clip import Clip
from engines.cores import usable_cores
from engines.engine import Engine
from engines.runtimes.registry import load_engine
from engines.storage.bundle import find_bundle, open_bundle
from tests.archive.recordings import write_recording

# Enough of a run for its start to matter little.
_LEAST_ALONE_S = 3.0


def alone(engine: Engine) -> float:
    """Windows per second of the engine with full batches."""
    crop = engine.manifest.preprocessing.crop
    frames = engine.allocate(crop, crop)
    frames[:] = np.random.default_rng(0).integers(0, 256, frames.shape, np.uint8)
    batch = [Clip(frames, "RGB", cropped=True)] * engine.manifest.max_batch
    engine.infer(batch)
    began_s, done = time.monotonic(), 0
    while time.monotonic() - began_s < _LEAST_ALONE_S:
        engine.infer(batch)
        done += len(batch)
    return done / (time.monotonic() - began_s)


def beside_decoders(engine: Engine, paths: list[Path], stride: int | None, decoders: int) -> tuple[float, float]:
    """Windows per second from the first to the last of a run over ``paths``, and the engine's busy share."""
    busy, times_s = BusyTime(), []
    videos = [local_video(str(path)) for path in paths]
    for event in classify(videos, engine, Sampling(stride=stride), decoders=decoders, busy=busy):
        if isinstance(event, Scored):
            times_s += [time.monotonic()]
    return (len(times_s) - 1) / (times_s[-1] - times_s[0]), busy.share


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", default="demo")
    parser.add_argument("--videos", type=int, default=16)
    parser.add_argument("--actions", type=int, default=6, help="of about 15 seconds each in a video")
    parser.add_argument("--stride", type=int, default=None)
    parser.add_argument("--decoders", type=int, default=usable_cores())
    parser.add_argument("--turns", type=int, default=3)
    wanted = parser.parse_args()
    engine = load_engine(open_bundle(find_bundle(wanted.bundle)))
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / f"{seed}.mp4" for seed in range(wanted.videos)]
        for seed, path in enumerate(paths):
            write_recording(path, seed, wanted.actions)
        ratios, before = [], alone(engine)
        for _ in range(wanted.turns):
            rate, share = beside_decoders(engine, paths, wanted.stride, wanted.decoders)
            after = alone(engine)
            ratios.append(rate / ((before + after) / 2))
            print(
                f"alone {before:6.1f} and {after:6.1f}, run {rate:6.1f} windows/s: {ratios[-1]:.3f}, busy {share:.1%}"
            )
            before = after
    print(f"{engine.device_name}: {statistics.median(ratios):.3f} of the engine's own best")


if __name__ == "__main__":
    main()
