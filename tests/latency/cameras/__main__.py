"""``python -m tests.latency.cameras``: how many cameras this machine holds, on streams and with requests.

The number of cameras is raised until the p95 age of an answer passes a limit, or windows are skipped. Each camera is a
connection of its own that sends recorded JPEGs at their pace. The cameras run on this machine, too.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path

from rich.console import Console

from tests.latency.cache import cache
from tests.latency.cameras.capacity import ENGINES, TRANSPORTS, Case, Effort, Found, find
from tests.latency.cameras.picture import draw
from tests.latency.machine import machine
from tests.latency.tables import Table

_WIDTH = 120
_FULL = Effort(fps=3, seconds=30, first=4, most=1024, ratio=1.1)
# Four times the pace, so that the first window is full after 1.3 s.
_QUICK = Effort(fps=12, seconds=4, first=8, most=16, ratio=2)


def main() -> int:
    flags = _parser().parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    effort = _QUICK if flags.quick else _FULL
    cases = [Case(*each) for each in product(flags.engine or ENGINES, TRANSPORTS, flags.stride or (4, 16))]
    found = [find(case, flags.age_ms, effort, lambda line: print(line, file=sys.stderr, flush=True)) for case in cases]
    print(machine())
    console.print(_table(found, flags.age_ms, effort).for_terminal())
    draw(found, flags.age_ms, flags.picture)
    print(f"picture: {flags.picture}")
    for each in found:
        cameras = f"{'at least ' if each.more else ''}{0 if each.held is None else each.held.cameras}"
        case = each.case
        print(f"this machine holds {cameras} cameras ({case.engine}, {case.transport}, stride {case.stride})")
    return 0


def _table(found: list[Found], age_ms: float, effort: Effort) -> Table:
    rows = []
    for each in found:
        held = each.held
        figures = ("0", "", "") if held is None else (str(held.cameras), f"{held.p95_ms:.0f}", _rate(each))
        rows.append((each.case.engine, each.case.transport, str(each.case.stride), *figures))
    title = (
        f"Cameras whose JPEGs are as small as the model takes, at {effort.fps:g} frames a second, with no window"
        f" skipped and a p95 age of at most {age_ms:g} ms"
    )
    return Table(title, ("engine", "transport", "stride", "cameras", "p95 age, ms", "predictions/s"), rows)


def _rate(found: Found) -> str:
    return "" if found.held is None else f"{found.held.predictions_per_s:.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="just bench cameras", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--age-ms", type=float, default=1000, help="largest p95 age of an answer (default: 1000)")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="only these; left out: all")
    parser.add_argument("--stride", action="append", type=int, help="frames from window to window (default: 4 and 16)")
    parser.add_argument("--quick", action="store_true", help="short runs of at most 16 cameras at 12 frames a second")
    picture = cache("cameras.png")
    parser.add_argument("--picture", type=Path, default=picture, help=f"where to draw it (default: {picture})")
    return parser


if __name__ == "__main__":
    sys.exit(main())
