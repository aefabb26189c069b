"""``tests/gpu/run.sh``: each section is a process of its own, so that one that breaks the device ends alone."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.gpu.setting import Setting, parser

# In order of what is worth most when time is short.
SECTIONS = {
    "machine": "what this is, and how fast it can be at best",
    "build": "a checkpoint with random weights, and its bundles",
    "contract": "the tests of the engines, on this device",
    "parity": "probabilities and pixels, beside transformers on the CPU",
    "speed": "each way to run the network, by batch",
    "rivals": "transformers on this device",
    "launching": "CUDA graphs and attention kernels",
    "overlap": "lanes, and the time of each phase",
    "service": "the whole service",
}


def main() -> int:
    flags = parser()
    flags.add_argument("--minutes", type=float, default=9)
    flags.add_argument("--only", type=lambda text: text.split(","), default=list(SECTIONS))
    asked = flags.parse_args()
    chosen = Setting(asked.device, asked.small, asked.work, asked.seconds)
    chosen.work.mkdir(parents=True, exist_ok=True)
    ends_s = time.monotonic() + 60 * asked.minutes
    failed = [name for name in SECTIONS if name in asked.only and not _run(name, chosen, ends_s)]
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall sections ended well")
    return 1 if failed else 0


def _run(name: str, chosen: Setting, ends_s: float) -> bool:
    left_s = ends_s - time.monotonic()
    print(f"\n== {name}: {SECTIONS[name]} ==", flush=True)
    if left_s < 5:
        print("no time left")
        return False
    began_s = time.monotonic()
    command = [sys.executable, "-u", "-m", f"tests.gpu.{name}", *chosen.arguments()]
    try:
        code = subprocess.run(command, timeout=left_s, check=False).returncode
    except subprocess.TimeoutExpired:
        print("ran out of time")
        return False
    print(f"-- {time.monotonic() - began_s:.0f} s" + (f", ended with code {code}" if code else ""), flush=True)
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
