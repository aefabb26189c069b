"""The picture of how old answers get with more cameras."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from tests.latency.cameras.capacity import Found

_SIZE_INCHES = (9, 4.5)
_DPI = 130


def draw(found: Sequence[Found], age_ms: float, place: Path) -> None:
    """The p95 age of each case over the number of cameras, as a PNG file; a cross where windows were skipped."""
    figure, axes = plt.subplots(figsize=_SIZE_INCHES, layout="constrained")
    for each in found:
        runs = [run for run in each.runs if math.isfinite(run.p95_ms)]
        style = "-" if each.case.transport == "stream" else "--"
        name = f"{each.case.engine}, {each.case.transport}, stride {each.case.stride}"
        x, y = [run.cameras for run in runs], [run.p95_ms for run in runs]
        (line,) = axes.plot(x, y, style, marker=".", label=name)
        skipping = [run for run in runs if run.skipped]
        axes.plot(
            [run.cameras for run in skipping], [run.p95_ms for run in skipping], "x", color=line.get_color(), ms=9
        )
    axes.axhline(age_ms, color="black", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", yscale="log", xlabel="cameras", ylabel="p95 age of an answer, ms")
    axes.set_title("Age of answers by number of cameras; a cross: windows were skipped")
    axes.grid(alpha=0.3)
    figure.legend(fontsize="small", loc="outside right upper")
    place.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(place, dpi=_DPI)
    plt.close(figure)
