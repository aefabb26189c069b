"""``python -m tests.latency``: our server beside what one would use instead, as ratios of what one run measured.

All servers of a scenario run at once and are asked in turn by the same load generator, so what else the machine does
falls on all of them alike; ratios are medians over the repetitions.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.status import Status

from tests.latency import check, plots
from tests.latency.document import update_document
from tests.latency.generator import AnswerError
from tests.latency.measure import measure
from tests.latency.measurements import Measurements
from tests.latency.pieces import piece_table
from tests.latency.ratios import Ratio, ratios
from tests.latency.scenarios import QUICK, SCENARIOS
from tests.latency.tables import Table, phase_table, ratio_table, scenario_table

_PHASES_OF = "instant"
# Of what is no terminal.
_WIDTH = 140


def main() -> int:
    flags = _parser().parse_args()
    # So that what was started is stopped, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    measured = Measurements()
    complete = _all_measured(flags, measured, console)
    found = list(ratios(measured))
    tables = list(_tables(measured, found))
    for table in tables:
        console.print(table.for_terminal())
    _write(flags, measured, tables, found)
    passed = _checked(found, flags.form, console) if flags.check else True
    return 0 if complete and passed else 1


def _all_measured(flags: argparse.Namespace, measured: Measurements, console: Console) -> bool:
    """Whether everything could be."""
    for path in flags.taken:
        measured.load(path)
    chosen = _chosen(flags)
    for name in chosen:
        measured.drop(name)
    again = partial(_measured, quick=flags.form == "quick", measured=measured, console=console)
    complete = not [name for name in chosen * flags.starts if not again(name)]
    if flags.check:
        complete = check.settle(measured, check.read_baseline(flags.form), chosen, again) and complete
    return complete


def _chosen(flags: argparse.Namespace) -> tuple[str, ...]:
    if flags.scenario or flags.taken:
        return tuple(flags.scenario or ())
    return QUICK if flags.form == "quick" else tuple(SCENARIOS)


def _measured(name: str, quick: bool, measured: Measurements, console: Console) -> bool:
    """Whether it could be; what went wrong in one scenario does not lose the others."""
    scenario = SCENARIOS[name](quick)
    with Status(scenario.title, console=console) as status:
        try:
            measure(scenario, measured, lambda progress: status.update(f"{scenario.name}: {progress}"))
        except AnswerError as error:
            measured.drop(name)
            print(f"{name} is left out: {error}", file=sys.stderr)
            return False
    return True


def _tables(measured: Measurements, found: Sequence[Ratio]) -> Iterator[Table]:
    yield ratio_table(found)
    for scenario in (name for name in SCENARIOS if name in measured.titles):
        yield scenario_table(scenario, measured)
    if _PHASES_OF in measured.titles:
        yield phase_table(_PHASES_OF, measured)
        yield piece_table()


def _write(flags: argparse.Namespace, measured: Measurements, tables: list[Table], found: list[Ratio]) -> None:
    if flags.json:
        measured.save(flags.json)
    if flags.plots:
        plots.draw(measured, flags.plots)
    if flags.document:
        update_document(flags.document, measured.told_machines(), tables)
    if flags.record:
        check.record_baseline(found, "; ".join(measured.told_machines()), flags.form)


def _checked(found: list[Ratio], form: check.Form, console: Console) -> bool:
    judged = list(check.verdicts(found, check.read_baseline(form)))
    console.print(check.verdict_table(judged).for_terminal())
    failed = [verdict for verdict in judged if verdict.fails]
    for verdict in failed:
        print(f"{verdict.ratio.name}: {verdict.worse_by:.0%} worse than recorded", file=sys.stderr)
    return not failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="just bench", description="Our server beside what one would use instead.")
    parser.add_argument("--check", action="store_true", help="fail when a ratio is worse than recorded")
    parser.add_argument("--record", action="store_true", help="take this run's ratios for those that --check compares")
    parser.add_argument(
        "--quick",
        dest="form",
        action="store_const",
        const="quick",
        default="full",
        help="two to five minutes: only FastAPI, fewer repetitions",
    )
    parser.add_argument(
        "--starts",
        type=int,
        choices=range(1, 10),
        default=1,
        metavar="N",
        help="measure so often, with servers started anew: medians that one start does not decide",
    )
    parser.add_argument("--scenario", action="append", choices=tuple(SCENARIOS), help="only these; left out: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run, with every latency")
    parser.add_argument(
        "--from",
        dest="taken",
        type=Path,
        metavar="FILE",
        action="append",
        default=[],
        help="what --json wrote, instead of measuring; with --scenario that one is measured anew",
    )
    parser.add_argument("--plots", type=Path, metavar="DIR", help="latencies, throughput and phases as pictures")
    parser.add_argument(
        "--document", type=Path, metavar="FILE", help="put the tables into this file, between its two marks"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
