"""The metrics of streams for Prometheus; none has a label for each stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from server.telemetry.phases import ClipTimes
from server.telemetry.share_interval import share_interval

FrameOutcome = Literal["used", "unused", "refused"]

_FRAME_OUTCOMES: tuple[FrameOutcome, ...] = ("used", "unused", "refused")
_WINDOW_OUTCOMES = ("answered", "overload", "frame", "model", "still", "failed")
_GAP_REASONS = ("time", "size")


class StreamFamilies:
    """The metrics of streams that each model has, under its name as the label ``model``."""

    def __init__(self, registry: CollectorRegistry, buckets_s: tuple[float, ...]) -> None:
        self._registry = registry
        self.frames = self._counter("vjepa_stream_frames", "Frames of streams, by outcome", "outcome")
        self.windows = self._counter("vjepa_stream_windows", "Windows of streams, by outcome", "outcome")
        self.gaps = self._counter("vjepa_stream_gaps", "Gaps that broke windows, by reason", "reason")
        self.checks = self._counter(
            "vjepa_stream_still_checks",
            "Still windows that were classified all the same: those that show an event were missed",
            "outcome",
        )
        self.age = Histogram(
            "vjepa_stream_age_seconds",
            "From the arrival of a window's newest frame to its answer",
            ["model"],
            registry=registry,
            buckets=buckets_s,
        )
        self.missed = Gauge(
            "vjepa_stream_still_missed_ratio",
            "Estimated share of still windows that show an event, with its 95 % interval",
            ["model", "bound"],
            registry=registry,
        )

    def _counter(self, name: str, text: str, label: str) -> Counter:
        return Counter(name, text, ["model", label], registry=self._registry)


class StreamMetrics:
    """Counts what all streams of ``model`` do; ``answered_request`` counts an answer together with single clips."""

    def __init__(
        self,
        families: StreamFamilies,
        model: str,
        answered_request: Callable[[Sequence[tuple[ClipTimes, str | None]]], None],
    ) -> None:
        self._families, self._model = families, model
        self._answered_request = answered_request
        self._age = families.age.labels(model)
        self._checked = self._missed = 0
        self._watch_missed()
        self._preset()

    def frame(self, outcome: FrameOutcome) -> None:
        """Count a frame that was decoded (``used``), that no window needed, or that could not be read."""
        self._families.frames.labels(self._model, outcome).inc()

    def window(self, outcome: str) -> None:
        """Count a window that was not answered: why it was skipped, or ``failed``."""
        self._families.windows.labels(self._model, outcome).inc()

    def answered(self, times: ClipTimes, label: str | None, age_s: float) -> None:
        """Count an answered window, with its phases, its most probable label and its age."""
        self._families.windows.labels(self._model, "answered").inc()
        self._age.observe(age_s)
        self._answered_request([(times, label)])

    def gap(self, reason: str) -> None:
        self._families.gaps.labels(self._model, reason).inc()

    def still_checked(self, *, missed: bool) -> None:
        """Count a still window that was classified all the same."""
        self._checked += 1
        self._missed += missed
        self._families.checks.labels(self._model, "missed" if missed else "right").inc()

    def _watch_missed(self) -> None:
        told = self._families.missed
        told.labels(self._model, "estimate").set_function(
            lambda: self._missed / self._checked if self._checked else math.nan
        )
        told.labels(self._model, "low").set_function(lambda: share_interval(self._missed, self._checked)[0])
        told.labels(self._model, "high").set_function(lambda: share_interval(self._missed, self._checked)[1])

    def _preset(self) -> None:
        """Create series before their first event, so that rates over them are right from the start."""
        for outcome in _FRAME_OUTCOMES:
            self._families.frames.labels(self._model, outcome)
        for window in _WINDOW_OUTCOMES:
            self._families.windows.labels(self._model, window)
        for reason in _GAP_REASONS:
            self._families.gaps.labels(self._model, reason)
        for check in ("missed", "right"):
            self._families.checks.labels(self._model, check)
