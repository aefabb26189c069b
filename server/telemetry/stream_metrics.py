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
# By the code that closes the WebSocket.
_ENDS = {1000: "ended", 1001: "stopped", 1006: "gone", 1008: "policy", 1009: "too_big", 1013: "overloaded"}
_OTHER_END = "other"


class StreamMetrics:
    """Counts what all streams do; ``answered_request`` counts an answer together with those to single clips."""

    def __init__(
        self,
        registry: CollectorRegistry,
        buckets_s: tuple[float, ...],
        answered_request: Callable[[Sequence[tuple[ClipTimes, str | None]]], None],
    ) -> None:
        self._answered_request = answered_request
        self._frames = Counter("vjepa_stream_frames", "Frames of streams, by outcome", ["outcome"], registry=registry)
        self._windows = Counter(
            "vjepa_stream_windows", "Windows of streams, by outcome", ["outcome"], registry=registry
        )
        self._gaps = Counter("vjepa_stream_gaps", "Gaps that broke windows, by reason", ["reason"], registry=registry)
        self._ended = Counter("vjepa_streams_ended", "Streams that ended, by reason", ["reason"], registry=registry)
        self._age = Histogram(
            "vjepa_stream_age_seconds",
            "From the arrival of a window's newest frame to its answer",
            registry=registry,
            buckets=buckets_s,
        )
        self._checks = Counter(
            "vjepa_stream_still_checks",
            "Still windows that were classified all the same: those that show an event were missed",
            ["outcome"],
            registry=registry,
        )
        self._checked = self._missed = 0
        self._watch_missed(registry)
        self._preset()

    def frame(self, outcome: FrameOutcome) -> None:
        """Count a frame that was decoded (``used``), that no window needed, or that could not be read."""
        self._frames.labels(outcome).inc()

    def window(self, outcome: str) -> None:
        """Count a window that was not answered: why it was skipped, or ``failed``."""
        self._windows.labels(outcome).inc()

    def answered(self, times: ClipTimes, label: str | None, age_s: float) -> None:
        """Count an answered window, with its phases, its most probable label and its age."""
        self._windows.labels("answered").inc()
        self._age.observe(age_s)
        self._answered_request([(times, label)])

    def gap(self, reason: str) -> None:
        self._gaps.labels(reason).inc()

    def ended(self, code: int) -> None:
        """Count a stream whose WebSocket was closed with ``code``."""
        self._ended.labels(_ENDS.get(code, _OTHER_END)).inc()

    def still_checked(self, *, missed: bool) -> None:
        """Count a still window that was classified all the same."""
        self._checked += 1
        self._missed += missed
        self._checks.labels("missed" if missed else "right").inc()

    def _watch_missed(self, registry: CollectorRegistry) -> None:
        told = Gauge(
            "vjepa_stream_still_missed_ratio",
            "Estimated share of still windows that show an event, with its 95 % interval",
            ["bound"],
            registry=registry,
        )
        told.labels("estimate").set_function(lambda: self._missed / self._checked if self._checked else math.nan)
        told.labels("low").set_function(lambda: share_interval(self._missed, self._checked)[0])
        told.labels("high").set_function(lambda: share_interval(self._missed, self._checked)[1])

    def _preset(self) -> None:
        """Create series before their first event, so that rates over them are right from the start."""
        for outcome in _FRAME_OUTCOMES:
            self._frames.labels(outcome)
        for window in _WINDOW_OUTCOMES:
            self._windows.labels(window)
        for reason in _GAP_REASONS:
            self._gaps.labels(reason)
        for reason in (*_ENDS.values(), _OTHER_END):
            self._ended.labels(reason)
        for check in ("missed", "right"):
            self._checks.labels(check)
