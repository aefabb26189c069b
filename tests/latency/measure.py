"""Runs a scenario: all its servers asked in turn, so that what else the machine does falls on each of them alike."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.latency.contender import Running, running
from tests.latency.generator import AnswerError
from tests.latency.machine import machine
from tests.latency.measurements import Case, Measurements, Run, Server
from tests.latency.payloads import Payload, payloads
from tests.latency.phases import means_ms, phase_sums
from tests.latency.scenarios import Scenario
from tests.live_server import ROOT

Report = Callable[[str], None]


@dataclass(frozen=True)
class _Turn:
    """One server with one payload."""

    server: Running
    payload: Payload
    label: str


def measure(scenario: Scenario, measured: Measurements, report: Report) -> None:
    """Add the scenario's runs, with servers started anew, to those that there are.

    Raises AnswerError when a server does not answer as it should.
    """
    if scenario.name not in measured.titles:
        measured.begin(scenario.name, scenario.title, machine())
    with contextlib.ExitStack() as stack:
        turns = list(_turns(scenario, stack, report))
        for repetition in range(scenario.repetitions):
            for clients in scenario.clients:
                for turn in turns:
                    name = turn.server.contender.name
                    report(f"{repetition + 1} of {scenario.repetitions}: {name}, {turn.payload.name}, {clients}")
                    case = Case(scenario.name, name, turn.payload.name, clients)
                    with turn.server.awake():
                        measured.add(case, _run(turn, clients, scenario))
        for server in {id(turn.server): turn.server for turn in turns}.values():
            contender = server.contender
            measured.add_server(Server(scenario.name, contender.name, contender.processes, server.peak_bytes()))


def _turns(scenario: Scenario, stack: contextlib.ExitStack, report: Report) -> Iterator[_Turn]:
    """Each server started, and each of its answers checked, before anything is measured."""
    everything = payloads()
    label = scenario.label
    for entry in scenario.entries:
        report(f"starting {entry.contender.name}")
        server = stack.enter_context(running(entry.contender, everything[entry.payloads[0]]))
        for name in entry.payloads:
            said = server.label(everything[name])
            label = label or said
            if said != label:
                raise AnswerError(f"{entry.contender.name} answers {name} with {said!r} instead of {label!r}")
            yield _Turn(server, everything[name], label)


def _run(turn: _Turn, clients: int, scenario: Scenario) -> Run:
    server = turn.server
    tells_phases = server.contender.tells_phases
    phases = phase_sums(server.place) if tells_phases else {}
    cpu_s = server.cpu_s()
    load = _load(turn, clients, scenario.seconds)
    cpu_s = server.cpu_s() - cpu_s
    latencies_ms = sorted(load["latencies_ms"])
    return Run(
        latencies_ms=latencies_ms,
        requests_per_s=len(latencies_ms) / load["elapsed_s"],
        server_cpu_ms=cpu_s * 1e3 / (len(latencies_ms) + clients),  # each asks once before it is counted
        generator_cpu_ms=load["cpu_s"] * 1e3 / len(latencies_ms),
        phases_ms=means_ms(phases, phase_sums(server.place)) if tells_phases else {},
    )


def _load(turn: _Turn, clients: int, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.latency.generator", *map(str, turn.server.place), str(clients)]
    with tempfile.TemporaryFile() as request:
        request.write(turn.payload.request(turn.server.contender.path))
        request.seek(0)
        done = subprocess.run(
            [*command, str(seconds), turn.label], cwd=ROOT, stdin=request, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise AnswerError(f"{turn.server.contender.name} under {clients} clients: {done.stderr}")
    return dict(json.loads(done.stdout))
