"""All metrics of the service for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from server.telemetry.gpu_metrics import GpuCollector
from server.telemetry.log_queue import DROPPED_LINES
from server.telemetry.phases import ClipTimes
from server.telemetry.statistics import Statistics
from server.telemetry.stream_metrics import StreamMetrics

# A creation time for each counter would double the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_CLIPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
_PHASES = ("read", "decode", "queue", "preprocess", "infer", "total")
# Labels come from bundles, which a reload may change; Prometheus keeps each label it has seen.
_MAX_LABELS = 256
_OTHER_LABELS = "other"

# Why the service closes connections.
CLOSED_FOR = ("slow_header", "too_many", "unread_answer", "no_descriptor")

_OUTCOMES = {
    200: "answered",
    400: "unreadable",
    401: "unauthorized",
    404: "not_found",
    408: "slow",
    413: "too_large",
    415: "unsupported",
    422: "invalid",
    429: "rate_limited",
    503: "refused",
    504: "deadline",
}
GONE = "gone"
FAILED = "failed"


def outcome_of(status: int) -> str:
    """The ``outcome`` label under which an answer with the HTTP ``status`` is counted."""
    return _OUTCOMES.get(status, FAILED)


class Metrics:
    """The metrics of one service, in a registry of their own, so that two services in one process do not mix.

    Invariant: only the event loop calls the methods, so ``_known_labels`` needs no lock.
    """

    def __init__(self, states: Iterable[str]) -> None:
        self.registry = registry = CollectorRegistry()
        # The figures of the Open Inference Protocol, which Prometheus has in other forms.
        self.statistics = Statistics()
        for collector in (ProcessCollector, PlatformCollector, GCCollector, GpuCollector):
            collector(registry=registry)
        self._received = Counter("vjepa_requests_received", "Requests to classify a clip", registry=registry)
        self._outcomes = Counter(
            "vjepa_requests", "Requests to classify a clip, by outcome", ["outcome"], registry=registry
        )
        phases = Histogram(
            "vjepa_phase_seconds",
            "Duration of each phase of an answered clip, without those of low priority",
            ["phase"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._phases = {phase: phases.labels(phase) for phase in _PHASES}
        self.batch_clips = Histogram("vjepa_batch_clips", "Clips in a batch", buckets=_CLIPS, registry=registry)
        self.engine_failures = Counter("vjepa_engine_failures", "Batches in which the engine failed", registry=registry)
        self._cancelled = Counter(
            "vjepa_clips_cancelled",
            "Clips cancelled in the queue (started=no) or in the engine (started=yes)",
            ["started", "reason"],
            registry=registry,
        )
        self._labels = Counter("vjepa_clips", "Answered clips, by most probable label", ["label"], registry=registry)
        self._low_priority = Counter("vjepa_low_priority_clips", "Answered clips of low priority", registry=registry)
        self._known_labels: set[str] = set()
        self._state = Enum(
            "vjepa_engine_state", "State of the service, as /health reports it", states=list(states), registry=registry
        )
        self.engine = Info("vjepa_engine", "The engine in service", registry=registry)
        self._reloads = Counter("vjepa_reloads", "Reloads of the bundle, by outcome", ["outcome"], registry=registry)
        self._checks = Counter(
            "vjepa_canary_checks",
            "Reference clips that an engine in service answered, by outcome",
            ["outcome"],
            registry=registry,
        )
        self.streams = StreamMetrics(registry, _SECONDS, self.answered_request)
        self._connections = Gauge("vjepa_connections", "Open connections", registry=registry)
        self._closed = Counter(
            "vjepa_connections_closed", "Connections that the service closed, by reason", ["reason"], registry=registry
        )
        registry.register(DROPPED_LINES)
        self._preset()

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge whose ``value`` is called at each scrape."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)

    def received(self) -> None:
        """Count a request to classify a clip."""
        self._received.inc()

    def ended(self, outcome: str) -> None:
        """Count the end of a received request."""
        self._outcomes.labels(outcome).inc()

    def answered(self, times: ClipTimes, label: str | None, *, low_priority: bool = False) -> None:
        """Count an answered clip, with its phases and its best label if it has one.

        The waiting of low priority is intended, so its phases are left out: they would look like those of live clips.
        """
        if low_priority:
            self._low_priority.inc()
        else:
            for phase, ms in times.phases():
                self._phases[phase].observe(ms / 1e3)
        if label is None:
            return
        if label not in self._known_labels and len(self._known_labels) >= _MAX_LABELS:
            label = _OTHER_LABELS
        self._known_labels.add(label)
        self._labels.labels(label).inc()

    def answered_request(self, clips: Sequence[tuple[ClipTimes, str | None]], *, low_priority: bool = False) -> None:
        """Count the answered clips of one request, or one window of a stream, each as ``answered`` does."""
        for times, label in clips:
            self.answered(times, label, low_priority=low_priority)
        if not low_priority:
            self.statistics.succeeded([times for times, _ in clips])

    def cancelled(self, reason: str, *, started: bool) -> None:
        """Count a clip that was cancelled because its client is ``gone`` or its ``deadline`` passed."""
        self._cancelled.labels("yes" if started else "no", reason).inc()

    def state(self, name: str) -> None:
        self._state.state(name)

    def reloaded(self, outcome: str) -> None:
        """Count a reload that ``swapped`` the engine or ``kept`` the old one."""
        self._reloads.labels(outcome).inc()

    def checked(self, outcome: str) -> None:
        """Count an answer to a reference clip that was ``right`` or ``wrong``."""
        self._checks.labels(outcome).inc()

    def closed(self, reason: str) -> None:
        """Count a connection that the service closed: one of ``CLOSED_FOR``."""
        self._closed.labels(reason).inc()

    def connected(self, clients: int) -> None:
        """Set the number of open connections."""
        self._connections.set(clients)

    def _preset(self) -> None:
        """Create series before their first event, so that rates over them are right from the start."""
        for outcome in (*_OUTCOMES.values(), GONE, FAILED):
            self._outcomes.labels(outcome)
        for started in ("yes", "no"):
            for reason in (GONE, "deadline"):
                self._cancelled.labels(started, reason)
        for outcome in ("swapped", "kept"):
            self._reloads.labels(outcome)
        for outcome in ("right", "wrong"):
            self._checks.labels(outcome)
        for reason in CLOSED_FOR:
            self._closed.labels(reason)
