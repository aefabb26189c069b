"""``python -m tests.latency``: our server beside what one would use instead, as ratios of what one run measured.

All servers of a scenario run at once and are asked in turn by the same load generator, so what else the machine does
falls on all of them alike; figures are medians over the repetitions.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.status import Status

from tests.latency import check, plots
from tests.latency.document import update_document
from tests.latency.generator import AnswerError
from tests.latency.machine import machine
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
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
    measured = Measurements()
    names = flags.scenario or (QUICK if flags.quick else tuple(SCENARIOS))
    try:
        tables = [_measured(name, flags.quick, measured, console) for name in names]
    except AnswerError as error:
        print(error, file=sys.stderr)
        return 1
    if _PHASES_OF in names:
        tables += [phase_table(_PHASES_OF, measured), piece_table()]
    found = list(ratios(measured))
    tables.insert(0, ratio_table(found))
    for table in tables[1:] if flags.check else tables:
        _print(table, console)
    _write(flags, measured, tables, found)
    return _checked(found, console) if flags.check else 0


def _measured(name: str, quick: bool, measured: Measurements, console: Console) -> Table:
    scenario = SCENARIOS[name](quick)
    with Status(scenario.title, console=console) as status:
        measure(scenario, measured, lambda progress: status.update(f"{scenario.name}: {progress}"))
    return scenario_table(scenario, measured)


def _write(flags: argparse.Namespace, measured: Measurements, tables: list[Table], found: list[Ratio]) -> None:
    if flags.json:
        flags.json.write_text(json.dumps({"machine": machine(), "runs": measured.records()}, indent=1) + "\n")
    if flags.plots:
        plots.draw(measured, flags.plots)
    if flags.document:
        update_document(flags.document, machine(), tables)
    if flags.record:
        check.record_baseline(found, machine())


def _checked(found: list[Ratio], console: Console) -> int:
    judged = list(check.verdicts(found, check.read_baseline()))
    _print(check.verdict_table(judged), console)
    failed = [verdict for verdict in judged if verdict.fails]
    for verdict in failed:
        print(f"{verdict.ratio.name}: {verdict.worse_by:.0%} worse than recorded", file=sys.stderr)
    return 1 if failed else 0


def _print(table: Table, console: Console) -> None:
    console.print(table.for_terminal())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="just bench", description="Our server beside what one would use instead.")
    parser.add_argument("--check", action="store_true", help="fail when a ratio is worse than recorded")
    parser.add_argument("--record", action="store_true", help="take this run's ratios for those that --check compares")
    parser.add_argument("--quick", action="store_true", help="two minutes: only FastAPI, fewer repetitions")
    parser.add_argument("--scenario", action="append", choices=tuple(SCENARIOS), help="only these; left out: all")
    parser.add_argument("--json", type=Path, help="every run, with every latency")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="latencies, throughput and phases as pictures")
    parser.add_argument("--document", type=Path, help="put the tables into this file, between its two marks")
    return parser


if __name__ == "__main__":
    sys.exit(main())
