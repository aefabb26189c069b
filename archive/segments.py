"""Turns the classes of overlapping windows into segments: which action was seen from when to when.

The rule, for each label by itself:

1. Each window speaks for the moments that are nearer to its centre than to those of its neighbours, and inside it. The
   first window also speaks for its beginning, the last for its end, as do those at a break in the recording.
2. Its probability is averaged with those of the windows whose centres are at most ``smoothing_s`` away.
3. A segment begins where this average reaches ``enter``, and lasts for as long as it is at least ``leave``, before that
   moment as well as after it.
4. Of a segment, only the time is kept in which the picture moves: in which a block of it changes by ``still_below``
   levels or more between two frames of a window, and pauses of up to ``pause_s`` between such times. Windows without
   their changes are taken for moving.
5. Segments shorter than ``shortest_s`` are dropped, and so are those of the labels ``no_action``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from archive.video import WindowScores
from engines.linear_heads.manifest import UNKNOWN

# Rounding of the times of windows, in seconds; a longer time between two windows belongs to neither.
_ROUNDING_S = 1e-6

HOLDING = "Holding something"
"""The label of Something-Something by which a still scene goes."""

Cells = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of the rule; see the module. Probabilities are from 0 to 1."""

    enter: float = 0.5
    leave: float = 0.25
    smoothing_s: float = 1.5
    still_below: float = 2.0
    pause_s: float = 1.0
    shortest_s: float = 1.0
    no_action: tuple[str, ...] = (HOLDING, UNKNOWN)


@dataclass(frozen=True, slots=True)
class Segment:
    """``label`` was seen from ``start_s`` to ``end_s``; ``confidence`` is the mean of its averages over that time."""

    start_s: float
    end_s: float
    label: str
    confidence: float


def segments(windows: Sequence[WindowScores], labels: Sequence[str], rules: Rules = Rules()) -> list[Segment]:
    """The segments of one video's ``windows``, which are in the order of their times, by their start and label."""
    if not windows:
        return []
    cells = _cells(windows)
    smooth = _smoothed(windows, cells, rules.smoothing_s)
    moving = _moving(windows, rules)
    found = [
        segment
        for index in np.flatnonzero(smooth.max(axis=0) >= rules.enter).tolist()
        if labels[index] not in rules.no_action
        for segment in _of_label(labels[index], smooth[:, index], cells, moving, rules)
    ]
    return sorted(found, key=lambda segment: (segment.start_s, segment.label))


def _cells(windows: Sequence[WindowScores]) -> Cells:
    """From when to when each window speaks."""
    cells = []
    for index, window in enumerate(windows):
        start_s, end_s = window.start_s, window.end_s
        if index and (before := windows[index - 1]).end_s >= start_s - _ROUNDING_S:
            start_s = (_centre_s(before) + _centre_s(window)) / 2
        if index + 1 < len(windows) and (after := windows[index + 1]).start_s <= end_s + _ROUNDING_S:
            end_s = (_centre_s(window) + _centre_s(after)) / 2
        cells.append((start_s, end_s))
    return cells


def _smoothed(windows: Sequence[WindowScores], cells: Cells, within_s: float) -> npt.NDArray[np.float64]:
    """Float64 [windows, labels]: the averages of step 2, none of which reaches over a break."""
    scores = np.stack([window.scores for window in windows]).astype(np.float64)
    centres_s = np.array([_centre_s(window) for window in windows])
    runs = np.cumsum([0, *(cells[index][0] - cells[index - 1][1] > _ROUNDING_S for index in range(1, len(cells)))])
    first = np.maximum(np.searchsorted(centres_s, centres_s - within_s - _ROUNDING_S), np.searchsorted(runs, runs))
    last = np.minimum(
        np.searchsorted(centres_s, centres_s + within_s + _ROUNDING_S, "right"), np.searchsorted(runs, runs, "right")
    )
    sums = np.concatenate([np.zeros((1, scores.shape[1])), np.cumsum(scores, axis=0)])
    means: npt.NDArray[np.float64] = (sums[last] - sums[first]) / (last - first)[:, None]
    return means


def _moving(windows: Sequence[WindowScores], rules: Rules) -> Cells:
    """The times of step 4, in their order; they do not touch each other."""
    moving: Cells = []
    for start_s, end_s in sorted(step for window in windows for step in _moving_steps(window, rules.still_below)):
        if moving and start_s - moving[-1][1] <= rules.pause_s:
            moving[-1] = moving[-1][0], max(moving[-1][1], end_s)
        else:
            moving.append((start_s, end_s))
    return moving


def _moving_steps(window: WindowScores, still_below: float) -> Iterator[tuple[float, float]]:
    if not window.changes:
        yield window.start_s, window.end_s
    step_s = (window.end_s - window.start_s) / (len(window.changes) + 1)
    for index, change in enumerate(window.changes):
        if change >= still_below:
            yield window.start_s + index * step_s, window.start_s + (index + 1) * step_s


def _of_label(
    label: str, smooth: npt.NDArray[np.float64], cells: Cells, moving: Cells, rules: Rules
) -> Iterator[Segment]:
    for run in _runs(smooth >= rules.leave, cells):
        if smooth[run].max() >= rules.enter:
            for start_s, end_s in _both(cells[run[0]][0], cells[run[-1]][1], moving):
                if end_s - start_s >= rules.shortest_s:
                    yield Segment(start_s, end_s, label, _mean(smooth, run, cells, start_s, end_s))


def _both(start_s: float, end_s: float, moving: Cells) -> Iterator[tuple[float, float]]:
    """The parts of the time from ``start_s`` to ``end_s`` that are in ``moving``."""
    for moves_s, rests_s in moving:
        if moves_s < end_s and rests_s > start_s:
            yield max(start_s, moves_s), min(end_s, rests_s)


def _mean(smooth: npt.NDArray[np.float64], run: list[int], cells: Cells, start_s: float, end_s: float) -> float:
    weights = [max(0.0, min(cells[index][1], end_s) - max(cells[index][0], start_s)) for index in run]
    return float(np.average(smooth[run], weights=weights))


def _runs(seen: npt.NDArray[np.bool_], cells: Cells) -> Iterator[list[int]]:
    """The indices of neighbouring cells that are ``seen`` and touch each other."""
    runs: list[list[int]] = []
    for index in np.flatnonzero(seen).tolist():
        touches = runs and runs[-1][-1] == index - 1 and cells[index][0] - cells[index - 1][1] <= _ROUNDING_S
        if touches:
            runs[-1].append(index)
        else:
            runs.append([index])
    yield from runs


def _centre_s(window: WindowScores) -> float:
    return (window.start_s + window.end_s) / 2
