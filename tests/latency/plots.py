"""The pictures of ``docs/performance.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from tests.latency.measurements import Case, Measurements
from tests.latency.ratios import FLOOR, OURS
from tests.latency.tables import phase_shares_ms

_SIZE_INCHES = (9, 4.5)
_DPI = 130
# Strong ones first, then the pale ones of the same hues.
_COLORS = (*matplotlib.color_sequences["tab20"][::2], *matplotlib.color_sequences["tab20"][1::2])


def draw(measured: Measurements, place: Path) -> list[Path]:
    """Every picture for which there is something measured, as PNG files in ``place``."""
    place.mkdir(parents=True, exist_ok=True)
    drawn = {
        "latency_cdf": _latency_cdf(measured, "instant", 1),
        "throughput": _throughput(measured, "gpu"),
        "phases": _phases(measured, "instant"),
    }
    return [_saved(figure, place / f"{name}.png") for name, figure in drawn.items() if figure is not None]


def _latency_cdf(measured: Measurements, scenario: str, clients: int) -> Figure | None:
    cases = [case for case in measured if (case.scenario, case.clients) == (scenario, clients)]
    if not cases:
        return None
    figure, axes = _axes("Latency of one client; an engine that answers at once", "ms", "share of requests")
    for case in cases:
        latencies_ms = np.sort(np.concatenate([run.latencies_ms for run in measured.runs(case)]))
        axes.plot(latencies_ms, np.linspace(0, 1, len(latencies_ms)), label=_name(case), **_line(case))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ScalarFormatter())
    figure.legend(fontsize="small", loc="outside right upper")
    return figure


def _throughput(measured: Measurements, scenario: str) -> Figure | None:
    cases = [case for case in measured if case.scenario == scenario]
    if not cases:
        return None
    figure, axes = _axes("Throughput; a stand-in for a GPU, batches of up to 8", "clients", "requests/s")
    for server, payload in dict.fromkeys((case.server, case.payload) for case in cases):
        line = sorted((case for case in cases if (case.server, case.payload) == (server, payload)), key=_clients)
        rates = [measured.figure(case, "requests/s") for case in line]
        axes.plot([case.clients for case in line], rates, marker="o", label=_name(line[0]), **_line(line[0]))
    axes.set_xscale("log", base=2)
    ticks = sorted({case.clients for case in cases})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_ylim(bottom=0)
    figure.legend(fontsize="small", loc="outside right upper")
    return figure


def _phases(measured: Measurements, scenario: str) -> Figure | None:
    cases = [case for case in measured if (case.scenario, case.server, case.clients) == (scenario, OURS, 1)]
    if not cases:
        return None
    figure, axes = _axes("Where a request's time goes; one client, an engine that answers at once", "ms", "")
    begun = np.zeros(len(cases))
    shares = [phase_shares_ms(case, measured) for case in cases]
    for phase in shares[0]:
        widths = np.array([share[phase] for share in shares])
        axes.barh([case.payload for case in cases], widths, left=begun, label=phase)
        begun += widths
    axes.invert_yaxis()
    axes.legend(fontsize="small", ncols=len(shares[0]), loc="upper center", bbox_to_anchor=(0.5, -0.12))
    return figure


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=_SIZE_INCHES, layout="constrained")
    axes.set_prop_cycle(color=_COLORS)
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    return figure, axes


def _line(case: Case) -> dict[str, Any]:
    """Ours thick; the floor dotted."""
    return {"linewidth": 2.5 if case.server == OURS else 1.2, "linestyle": ":" if case.server == FLOOR else "-"}


def _name(case: Case) -> str:
    return f"{case.server}, {case.payload}"


def _clients(case: Case) -> int:
    return case.clients


def _saved(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)
    return path
