"""``python -m tests.archive.kills``: labelling that is killed again and again ends with the rows of one that was not.

    python -m tests.archive.kills [--videos 100] [--kills 20] [--seed 0] [--ray]

With ``--ray``, a worker of a local Ray and the driver are killed in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from tests.archive.recordings import write_recording
from tests.live_server import ROOT

# How long a process takes before the first window, at most.
START_S = 3.0
RAY_START_S = 15.0


def command(videos: Path, out: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "archive", str(videos), "--out", str(out), *flags]


def undisturbed(videos: Path, out: Path) -> float:
    """Label ``videos`` in one go; returns how many seconds it took."""
    started_s = time.monotonic()
    subprocess.run(command(videos, out), cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - started_s


def killed(videos: Path, out: Path, kills: int, span_s: float, seed: int, *flags: str, worker: str = "") -> int:
    """Label ``videos`` with ``kills`` kills at random moments of ``span_s`` seconds; returns the code of the last run.

    A run that ends before its moment is no kill; its results are removed, and all begins again. With ``worker``, each
    second kill hits a process of that name instead of the driver.
    """
    moments = random.Random(seed)
    done = 0
    while done < kills:
        process = subprocess.Popen(command(videos, out, *flags), cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=moments.uniform(0, span_s))
        except subprocess.TimeoutExpired:
            done += 1
            if worker and done % 2 == 0 and _kill_one(worker):
                print(f"kill {done}: a worker; the run ended with code {process.wait()}")
                continue
            process.kill()
            process.wait()
            print(f"kill {done}: {len(list(out.rglob('*.parquet')))} videos are done")
        else:
            shutil.rmtree(out)
    return subprocess.run(command(videos, out, *flags), cwd=ROOT, check=False).returncode


def differences(one: Path, other: Path) -> list[str]:
    """The Parquet files that are not the same, row for row, in both directories."""
    names = {path.relative_to(root) for root in (one, other) for path in root.rglob("*.parquet")}
    return sorted(str(name) for name in names if not _same(one / name, other / name))


def _same(one: Path, other: Path) -> bool:
    if not (one.exists() and other.exists()):
        return False
    return pq.read_table(one).to_pylist() == pq.read_table(other).to_pylist()


def _kill_one(name: str) -> bool:
    """Kill one process whose command starts with ``name``; False if there is none."""
    for process in psutil.process_iter(["cmdline"]):
        if "".join(process.info["cmdline"] or [])[: len(name)] == name:
            process.kill()
            return True
    return False


@contextlib.contextmanager
def ray_cluster(cores: int) -> Iterator[None]:
    """A Ray of this machine that outlives its drivers."""
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    flags = [f"--num-cpus={cores}", "--include-dashboard=false", f"--object-store-memory={100 * 2**20}"]
    subprocess.run([*ray, "start", "--head", *flags], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        subprocess.run([*ray, "stop", "--force"], check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ray", action="store_true")
    wanted = parser.parse_args()
    if wanted.ray and not importlib.util.find_spec("ray"):
        print("skipped: a cluster, because Ray is not installed (extra ray)")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        videos, whole, out = (Path(directory) / name for name in ("videos", "whole", "killed"))
        videos.mkdir()
        for seed in range(wanted.videos):
            write_recording(videos / f"{seed}.mp4", seed, actions=1)
        took_s = undisturbed(videos, whole)
        print(f"{wanted.videos} videos in {took_s:.1f} s undisturbed")
        flags, worker, start_s = ((), "", START_S)
        with contextlib.ExitStack() as stack:
            if wanted.ray:
                # Three cores: two workers, and one core for the readers.
                stack.enter_context(ray_cluster(3))
                flags, worker, start_s = ("--ray", "auto", "--ray-cores", "1"), "ray::MapWorker", RAY_START_S
            code = killed(videos, out, wanted.kills, start_s + took_s, wanted.seed, *flags, worker=worker)
        different = differences(whole, out)
        rows = sum(pq.read_metadata(path).num_rows for path in out.rglob("*.parquet"))
        print(f"exit code {code}, {rows} rows, files that differ: {different or 'none'}")
    return int(code != 0 or bool(different))


if __name__ == "__main__":
    sys.exit(main())
