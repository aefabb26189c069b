"""How long something takes, on a device that answers later."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from tests.gpu.setting import Setting

MOST_RUNS = 500
_WARM_UP_RUNS = 3


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def timed_s(work: Callable[[], object], chosen: Setting) -> float:
    """Mean seconds of ``work``, given to the device again and again without waiting in between."""
    for _ in range(_WARM_UP_RUNS):
        work()
    synchronize(chosen.device)
    runs, began_s = 0, time.perf_counter()
    while time.perf_counter() - began_s < chosen.seconds / 2:
        for _ in range(10):
            work()
        runs += 10
        synchronize(chosen.device)
    return (time.perf_counter() - began_s) / runs


def latencies_ms(work: Callable[[], object], seconds: float) -> list[float]:
    """Of up to 500 runs that end with their answer on the host, in rising order; at least ten."""
    for _ in range(_WARM_UP_RUNS):
        work()
    taken: list[float] = []
    ends_s = time.perf_counter() + seconds
    while len(taken) < 10 or (len(taken) < MOST_RUNS and time.perf_counter() < ends_s):
        began_s = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began_s) * 1e3)
    return sorted(taken)
