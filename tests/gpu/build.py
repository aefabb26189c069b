"""A checkpoint with random weights, and a bundle of it for each way to run the network here."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time

from engines.device.cuda_driver import cuda_devices
from tests.checkpoints import write_checkpoint
from tests.gpu.setting import EXPORTS, Setting, say, setting

_LIMIT_S = 240


def main() -> None:
    chosen = setting()
    if not chosen.checkpoint.is_dir():
        write_checkpoint(chosen.checkpoint, chosen.model, shard="5GB", spread=0.5 if chosen.small else 0.1)
    for name, options in EXPORTS.items():
        say(name, _build(chosen, name, options))


def _build(chosen: Setting, name: str, options: tuple[str, ...]) -> str:
    lacking = _lacking(chosen, name)
    if lacking:
        return lacking
    began_s = time.perf_counter()
    output = chosen.bundle_path(name)
    common = (
        "--precision",
        chosen.precision,
        "--max-batch",
        str(chosen.batches[-1]),
        "--no-verify",
        "--output",
        output,
    )
    command = [sys.executable, "-m", "export", str(chosen.checkpoint), *options, *map(str, common)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"not within {_LIMIT_S} s"
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1]}"
    return f"built in {time.perf_counter() - began_s:.0f} s"


def _lacking(chosen: Setting, name: str) -> str | None:
    """Why it is not tried."""
    if name.startswith("tensorrt"):
        if not importlib.util.find_spec(name.replace("-", "_")):
            return "the library is not installed"
        if not cuda_devices():
            return "no GPU to run it on"
    if "torch " in name and not shutil.which("g++"):
        return "no C++ compiler"
    return None


if __name__ == "__main__":
    main()
