"""What was measured: every run of every case, and figures of all of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from tests.percentile import percentile

Figure = Literal["p50", "p90", "p99", "requests/s", "CPU ms"]
_PERCENTS: dict[Figure, int] = {"p50": 50, "p90": 90, "p99": 99}


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
        return percentile(self.latencies_ms, _PERCENTS[name])


@dataclass(frozen=True)
class Server:
    """One of a scenario's; ``peak_bytes`` since it was last started."""

    scenario: str
    name: str
    processes: str
    peak_bytes: int


class Measurements:
    """Runs by case, in the order of their repetitions: those of one repetition were measured one after the other.

    ``titles`` say what the scenarios are; ``machines`` where they were measured.
    """

    def __init__(self) -> None:
        self._runs: dict[Case, list[Run]] = {}
        self._servers: dict[tuple[str, str], Server] = {}
        self.titles: dict[str, str] = {}
        self.machines: dict[str, str] = {}

    def begin(self, scenario: str, title: str, machine: str) -> None:
        """What follows of ``scenario`` is measured anew."""
        self.drop(scenario)
        self.titles[scenario], self.machines[scenario] = title, machine

    def drop(self, scenario: str) -> None:
        """Forget what there is of ``scenario``."""
        self._runs = {case: runs for case, runs in self._runs.items() if case.scenario != scenario}
        self._servers = {key: server for key, server in self._servers.items() if server.scenario != scenario}
        self.titles.pop(scenario, None)
        self.machines.pop(scenario, None)

    def told_machines(self) -> list[str]:
        """Each once."""
        return list(dict.fromkeys(self.machines.values()))

    def add(self, case: Case, run: Run) -> None:
        self._runs.setdefault(case, []).append(run)

    def add_server(self, server: Server) -> None:
        self._servers[server.scenario, server.name] = server

    def __iter__(self) -> Iterator[Case]:
        return iter(self._runs)

    def __contains__(self, case: object) -> bool:
        return case in self._runs

    def runs(self, case: Case) -> list[Run]:
        return self._runs[case]

    def server(self, case: Case) -> Server:
        return self._servers[case.scenario, case.server]

    def figure(self, case: Case, name: Figure) -> float:
        """Percentiles are of all requests, the others medians over the repetitions."""
        runs = self._runs[case]
        if name not in _PERCENTS:
            return statistics.median(run.figure(name) for run in runs)
        return percentile(sorted(latency_ms for run in runs for latency_ms in run.latencies_ms), _PERCENTS[name])

    def ratio(self, case: Case, other: Case, figure: Figure) -> float:
        """Median over the repetitions of ``case``'s figure in units of ``other``'s."""
        pairs = zip(self._runs[case], self._runs[other], strict=True)
        return statistics.median(run.figure(figure) / beside.figure(figure) for run, beside in pairs)

    def save(self, path: Path) -> None:
        """Everything, as JSON."""
        cases = [_Measured(case, runs) for case, runs in self._runs.items()]
        saved = _Saved(self.titles, self.machines, list(self._servers.values()), cases)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(saved), indent=1) + b"\n")

    def load(self, path: Path) -> None:
        """What ``save`` wrote; raises msgspec.DecodeError."""
        saved = msgspec.json.decode(path.read_bytes(), type=_Saved)
        for scenario, title in saved.titles.items():
            self.begin(scenario, title, saved.machines[scenario])
        for server in saved.servers:
            self.add_server(server)
        for measured in saved.cases:
            self._runs[measured.case] = measured.runs


class _Measured(msgspec.Struct):
    case: Case
    runs: list[Run]


class _Saved(msgspec.Struct):
    titles: dict[str, str]
    machines: dict[str, str]
    servers: list[Server]
    cases: list[_Measured]
