"""Pictures of an evaluation, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from evaluation.calibration import BINS, Calibration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 120
_LONGEST_LABEL = 44
# With more classes, numbers in the cells could not be read.
_MOST_NUMBERED = 25


def confusion_png(shown: Sequence[str], answered: Sequence[str], counts: npt.NDArray[np.integer]) -> bytes:
    """The confusion matrix: int [shown, answered], how often what was ``shown`` was ``answered`` with each label.

    The colour is the share of the row.
    """
    from matplotlib.figure import Figure

    rows, columns = counts.shape
    figure = Figure((2.6 + 0.42 * columns, 2.2 + 0.42 * rows), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(columns), [_short(label) for label in answered], rotation=45, ha="right")
    axes.set_yticks(range(rows), [_short(label) for label in shown])
    axes.set_xlabel("answer")
    axes.set_ylabel("action shown")
    if max(rows, columns) <= _MOST_NUMBERED:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count) if count else "", ha="center", va="center", color=colour)
    figure.colorbar(image, ax=axes, label="share of the row", shrink=0.8)
    return _png(figure)


def reliability_png(series: dict[str, Calibration]) -> bytes:
    """The reliability diagram: the share of right answers over their confidence, for each of ``series``."""
    from matplotlib.figure import Figure

    figure = Figure((5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color="grey", linestyle="--", label="perfect")
    for name, each in series.items():
        confidences, accuracies = [part.confidence for part in each.bins], [part.accuracy for part in each.bins]
        sizes = [20 + 200 * part.count / max(other.count for other in each.bins) for part in each.bins]
        (line,) = axes.plot(confidences, accuracies, label=f"{_short(name)} (error {each.error:.3f})")
        axes.scatter(confidences, accuracies, sizes, color=line.get_color(), alpha=0.6)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.05), xlabel="confidence", ylabel="share of right answers", aspect="equal")
    axes.set_xticks(np.linspace(0, 1, BINS // 2 + 1))
    figure.legend(loc="outside lower center")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=_DPI)
    return data.getvalue()


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}\u2026"
