"""What was measured, as tables for the terminal and for documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import rich.table

from tests.latency.measurements import Case, Figure, Measurements
from tests.latency.phases import PHASES, TOTAL
from tests.latency.ratios import OURS, Ratio

_MIB = 2**20
_FIGURES: tuple[Figure, ...] = ("p50", "p90", "p99", "requests/s", "CPU ms")
_COLUMNS = ("p50 ms", "p90 ms", "p99 ms", "requests/s", "CPU ms")


@dataclass(frozen=True)
class Table:
    """``rows`` have a cell for each of ``columns``."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def for_terminal(self) -> rich.table.Table:
        table = rich.table.Table(title=self.title, title_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if self._is_figures(number) else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        rules = ["--:" if self._is_figures(number) else "---" for number in range(len(self.columns))]
        lines = [f"| {' | '.join(row)} |" for row in (self.columns, rules, *self.rows)]
        return "\n".join([f"**{self.title}**", "", *lines, ""])

    def _is_figures(self, column: int) -> bool:
        return any(row[column][:1].isdigit() for row in self.rows)


def ratio_table(ratios: Iterable[Ratio]) -> Table:
    rows = [(ratio.name, f"{ratio.value:.2f}", _limit(ratio), _verdict(ratio)) for ratio in ratios]
    return Table("Ratios: medians over the repetitions", ("", "measured", "must hold", ""), rows)


def scenario_table(scenario: str, measured: Measurements) -> Table:
    """Every case of ``scenario``; latencies in milliseconds."""
    cases = sorted((case for case in measured if case.scenario == scenario), key=lambda case: case.clients)
    columns = ("server", "processes", "payload", "clients", *_COLUMNS, "peak MiB")
    rows = [_case_row(case, measured) for case in cases]
    return Table(f"`{scenario}`: {measured.titles[scenario]}", columns, rows)


def phase_table(scenario: str, measured: Measurements) -> Table:
    """Mean milliseconds of one client's requests, by our server's own account and, at its ends, the client's."""
    cases = [case for case in measured if (case.scenario, case.server, case.clients) == (scenario, OURS, 1)]
    shares = {case.payload: phase_shares_ms(case, measured) for case in cases}
    names = list(next(iter(shares.values()), {}))
    rows = [[name, *(f"{share[name]:.2f}" for share in shares.values())] for name in names]
    total = ["the client waits", *(f"{sum(share.values()):.2f}" for share in shares.values())]
    return Table("Milliseconds of a request, one client", ["", *shares], [*rows, total])


def phase_shares_ms(case: Case, measured: Measurements) -> dict[str, float]:
    """A request's mean milliseconds in parts that add up to what its client waits.

    ``answer`` is what the server does between its phases and after them, ``outside`` the rest: the way through the
    kernel and the client's own work.
    """
    runs = measured.runs(case)

    def mean(phase: str) -> float:
        return sum(run.phases_ms[phase] for run in runs) / len(runs)

    waited = sum(sum(run.latencies_ms) / len(run.latencies_ms) for run in runs) / len(runs)
    phases = {phase: mean(phase) for phase in PHASES}
    answer = mean(TOTAL) - sum(phases.values())
    return phases | {"answer": answer, "outside": waited - mean(TOTAL)}


def _case_row(case: Case, measured: Measurements) -> tuple[str, ...]:
    figures = [f"{measured.figure(case, figure):.1f}" for figure in _FIGURES]
    server = measured.server(case)
    return (case.server, server.processes, case.payload, str(case.clients), *figures, f"{server.peak_bytes / _MIB:.0f}")


def _limit(ratio: Ratio) -> str:
    return "" if ratio.limit is None else f"{'at least' if ratio.more_is_better else 'at most'} {ratio.limit:g}"


def _verdict(ratio: Ratio) -> str:
    return "" if ratio.limit is None else "holds" if ratio.holds else "MISSED"
