"""The number of CPU cores that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cgroup_cores(quota_file: Path = _CGROUP_QUOTA) -> int | None:
    """The container's CPU quota in cores, rounded up; None without a quota or with cgroup v1."""
    try:
        quota, period = quota_file.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, math.ceil(int(quota) / int(period)))


def usable_cores() -> int:
    """Logical cores in this process's affinity mask (else of the machine), at most the container's quota."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(own, cgroup_cores() or own)
