"""What was measured: every run of every case, and their medians."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

Figure = Literal["p50", "p90", "p99", "requests/s", "CPU ms"]


@dataclass(frozen=True)
class Case:
    """One server under one load."""

    scenario: str
    server: str
    payload: str
    clients: int


@dataclass(frozen=True)
class Run:
    """One repetition of a case: milliseconds of every request in rising order; CPU milliseconds are per request.

    ``phases_ms`` are the means that the server told of itself, if it does.
    """

    latencies_ms: Sequence[float]
    requests_per_s: float
    server_cpu_ms: float
    generator_cpu_ms: float
    phases_ms: dict[str, float] = field(default_factory=dict)

    def figure(self, name: Figure) -> float:
        if name == "requests/s":
            return self.requests_per_s
        if name == "CPU ms":
            return self.server_cpu_ms
        return self.latencies_ms[min(len(self.latencies_ms) - 1, len(self.latencies_ms) * int(name[1:]) // 100)]


class Measurements:
    """Runs by case, in the order of their repetitions: those of one repetition were measured one after the other."""

    def __init__(self) -> None:
        self._runs: dict[Case, list[Run]] = {}
        self.peak_bytes: dict[tuple[str, str], int] = {}

    def add(self, case: Case, run: Run) -> None:
        self._runs.setdefault(case, []).append(run)

    def __iter__(self) -> Iterator[Case]:
        return iter(self._runs)

    def __contains__(self, case: object) -> bool:
        return case in self._runs

    def runs(self, case: Case) -> list[Run]:
        return self._runs[case]

    def median(self, case: Case, figure: Figure) -> float:
        return statistics.median(run.figure(figure) for run in self._runs[case])

    def ratio(self, case: Case, other: Case, figure: Figure) -> float:
        """Median over the repetitions of ``case``'s figure in units of ``other``'s."""
        pairs = zip(self._runs[case], self._runs[other], strict=True)
        return statistics.median(run.figure(figure) / beside.figure(figure) for run, beside in pairs)

    def records(self) -> list[dict[str, object]]:
        """Every run as plain values."""
        return [
            {**asdict(case), "repetition": number, **asdict(run)}
            for case, runs in self._runs.items()
            for number, run in enumerate(runs)
        ]
