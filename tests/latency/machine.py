"""What the figures were measured on and with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path

from tests.latency.rivals.environment import pinned_versions

_OUR_PACKAGES = ("aiohttp", "openvino", "torch", "transformers")
_CPU_FLAGS = ("amx_bf16", "avx512_bf16")


def machine() -> str:
    """In one line."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    flags = " and ".join(flag for flag in _CPU_FLAGS if f" {flag}" in cpuinfo) or "no bf16"
    versions = {name: importlib.metadata.version(name) for name in _OUR_PACKAGES} | pinned_versions()
    parts = (
        f"{found.group(1) if found else platform.processor()} ({flags})",
        f"{os.cpu_count()} cores, which the load generator shares",
        f"Linux {platform.release().split('-')[0]}",
        f"Python {platform.python_version()}",
        *(f"{name} {version}" for name, version in versions.items()),
    )
    return ", ".join(parts)
