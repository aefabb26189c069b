"""The figures of the last hour are those of the metrics."""

from __future__ import annotations

import math

import pytest

from server.serving.service import State
from server.telemetry.history import COLUMNS, EVERY_S, History
from server.telemetry.metrics import Metrics
from server.telemetry.phases import ClipTimes


def _row(history: History) -> dict[str, float]:
    history.sample()
    return dict(zip(COLUMNS, history.rows[-1], strict=True))


def test_a_row_has_the_means_of_the_clips_since_the_row_before() -> None:
    metrics = Metrics(state.value for state in State)
    model = metrics.of_model("a")
    history = History(metrics.registry)
    for total_ms in (20, 40):
        model.answered(ClipTimes(decode_ms=2, infer_ms=total_ms / 2, total_ms=total_ms), "up")
        model.batch_clips.observe(3)
    metrics.ended("refused", "a")
    row = _row(history)
    assert (row["infer_ms"], row["total_ms"], row["decode_ms"]) == pytest.approx((15, 30, 2))
    assert (row["slowest_ms"], row["batch_clips"]) == (50, 3)
    assert row["clips_per_s"] > 0
    assert row["refused_per_s"] > 0
    assert row["memory_bytes"] > 0


def test_without_clips_means_are_unknown_and_rates_zero() -> None:
    metrics = Metrics(state.value for state in State)
    model = metrics.of_model("a")
    history = History(metrics.registry)
    model.answered(ClipTimes(total_ms=1), "up")
    _row(history)
    row = _row(history)
    assert all(math.isnan(row[name]) for name in ("total_ms", "slowest_ms", "batch_clips"))
    assert (row["clips_per_s"], row["refused_per_s"]) == (0, 0)


def test_the_current_row_is_longer_than_the_time_since_the_last_row() -> None:
    metrics = Metrics(state.value for state in State)
    model = metrics.of_model("a")
    history = History(metrics.registry)
    history.sample()
    model.answered(ClipTimes(total_ms=8), "up")
    history.sample()
    assert dict(zip(COLUMNS, history.current(), strict=True))["total_ms"] == 8


def test_an_hour_is_kept() -> None:
    history = History(Metrics(state.value for state in State).registry)
    for _ in range(400):
        history.sample()
    assert len(history.rows) * EVERY_S == 3600
