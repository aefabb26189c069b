"""``tests/gpu/run.sh``: each section is a process of its own, so that one that breaks the device ends alone."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass

from tests.gpu.setting import Setting, parser, setting_of


@dataclass(frozen=True)
class Section:
    """A module beside this one; ``planned_s``: seconds that it is expected to take on a GPU with a full-size model."""

    name: str
    purpose: str
    part: int
    planned_s: int


# In order of what is worth most when time is short; the sum of each part is below its nine minutes.
SECTIONS = (
    Section("machine", "what this is, and how fast it can be at best", 1, 20),
    Section("build", "a checkpoint with random weights, and its bundles", 1, 270),
    Section("parity", "probabilities and pixels, beside transformers on the CPU", 1, 90),
    Section("speed", "each way to run the network, by batch", 1, 120),
    Section("service", "the whole service", 2, 60),
    Section("overlap", "lanes, and the time of each phase", 2, 80),
    Section("launching", "CUDA graphs and attention kernels", 2, 80),
    Section("rivals", "transformers on this device", 2, 150),
    Section("contract", "the tests that need a GPU", 2, 120),
)


def main() -> int:
    asked = _asked()
    chosen = setting_of(asked)
    for directory in (chosen.work, chosen.results):
        directory.mkdir(parents=True, exist_ok=True)
    sections = [one for one in SECTIONS if one.part in asked.part and one.name in asked.only]
    print("planned:", ", ".join(f"{one.name} {one.planned_s} s" for one in sections), flush=True)
    print(f"in all {sum(one.planned_s for one in sections)} s of {60 * asked.minutes:.0f} s on a GPU", flush=True)
    ends_s = time.monotonic() + 60 * asked.minutes
    failed = [one.name for one in sections if not _run(one, chosen, ends_s)]
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall sections ended well")
    return 1 if failed else 0


def _asked() -> argparse.Namespace:
    names = [one.name for one in SECTIONS]
    flags = parser()
    flags.add_argument("--minutes", type=float, default=9)
    flags.add_argument("--part", type=lambda text: [int(text)], default=[1, 2])
    flags.add_argument("--only", type=lambda text: text.split(","), default=names)
    asked = flags.parse_args()
    if unknown := set(asked.only) - set(names):
        flags.error(f"--only: there is no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return asked


def _run(section: Section, chosen: Setting, ends_s: float) -> bool:
    left_s = ends_s - time.monotonic()
    print(f"\n== {section.name}: {section.purpose} ==", flush=True)
    if left_s < 5:
        print("no time left")
        return False
    began_s = time.monotonic()
    command = [sys.executable, "-u", "-m", f"tests.gpu.{section.name}", *chosen.arguments()]
    try:
        code = subprocess.run(command, timeout=left_s, check=False).returncode
    except subprocess.TimeoutExpired:
        print("ran out of time")
        return False
    print(
        f"-- {time.monotonic() - began_s:.0f} s, planned {section.planned_s} s"
        + (f", ended with code {code}" if code else ""),
        flush=True,
    )
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
