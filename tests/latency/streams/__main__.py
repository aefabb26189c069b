"""``python -m tests.latency.streams``: what streams cost beside posts, and how many are served, and how evenly."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from rich.console import Console

from tests.latency.streams import cost, fairness, many, stop
from tests.latency.tables import Table

_PARTS = ("cost", "many", "fairness", "stop")
_WIDTH = 140


def main() -> int:
    flags = _parser().parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    parts: dict[str, Callable[[], tuple[Table, bool]]] = {
        "cost": lambda: cost.measure(flags.windows, flags.repetitions),
        "many": lambda: many.measure(tuple(flags.streams), flags.stride, flags.seconds),
        "fairness": lambda: fairness.measure(flags.rivals, flags.load, flags.seconds),
        "stop": lambda: stop.measure(flags.stopped),
    }
    all_hold = True
    for name in flags.part or _PARTS:
        table, holds = parts[name]()
        console.print(table.for_terminal())
        all_hold = all_hold and holds
    print("all hold" if all_hold else "MISSED")
    return 0 if all_hold else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="just bench streams", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--part", action="append", choices=_PARTS, help="only these; left out: all")
    parser.add_argument("--windows", type=int, default=100, help="predictions in a run of costs (default: 100)")
    parser.add_argument("--repetitions", type=int, default=3, help="runs of costs, whose median counts (default: 3)")
    parser.add_argument(
        "--streams", type=int, nargs="+", default=[50, 200], metavar="N", help="cameras at once (default: 50 200)"
    )
    parser.add_argument("--stride", type=int, default=4, help="frames from window to window (default: 4)")
    parser.add_argument("--seconds", type=float, default=60, help="that cameras send (default: 60)")
    parser.add_argument("--rivals", type=int, default=64, help="streams that share the engine (default: 64)")
    parser.add_argument("--load", type=float, default=2, help="times what the engine can do (default: 2)")
    parser.add_argument("--stopped", type=int, default=50, help="streams that a stop finds open (default: 50)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
