"""``python -m tests.fleet``: three instances behind HAProxy; exit code 0 if they lose nothing, or if it says why not.

One instance after the other is drained, restarted, killed, frozen and given a new bundle while clients post clips and
watch streams. Then the throughput of all three is compared with what they reach one by one.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.fleet.faults import HEADINGS, complaints, inject
from tests.fleet.haproxy import haproxy, proxying
from tests.fleet.instances import instances
from tests.fleet.throughput import compare

_INSTANCES = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description="Three instances behind HAProxy.")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement of the throughput (default: 5)")
    flags = parser.parse_args()
    program = haproxy()
    if program is None:
        print("skipped: three instances behind HAProxy (install Debian's package haproxy)", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory() as work:
        wrong = _lose_nothing(program, Path(work))
        _compare_throughput(program, Path(work), flags.seconds)
    for complaint in wrong:
        print(f"failed: {complaint}", file=sys.stderr)
    return 1 if wrong else 0


def _lose_nothing(program: str, work: Path) -> list[str]:
    wrong: list[str] = []
    with instances(_INSTANCES, "gpu") as fleet, proxying(program, [one.address for one in fleet], work) as proxy:
        print(HEADINGS)
        for name, injury in asyncio.run(inject(fleet, proxy)):
            print(injury.row(name), flush=True)
            wrong += complaints(name, injury)
        if wrong:
            print(proxy.log.read_text(), file=sys.stderr)
    return wrong


def _compare_throughput(program: str, work: Path, seconds: float) -> None:
    with instances(_INSTANCES, "edge") as fleet, proxying(program, [one.address for one in fleet], work) as proxy:
        compared = asyncio.run(compare(fleet, proxy, seconds))
    alone = ", ".join(f"{one:.1f}" for one in compared.alone_per_s)
    print(f"clips a second: {alone} one by one, {compared.together_per_s:.1f} together, ratio {compared.ratio:.2f}")


if __name__ == "__main__":
    sys.exit(main())
