"""The metrics of one model for Prometheus: what its clips took, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from server.telemetry.phases import ClipTimes
from server.telemetry.statistics import Statistics
from server.telemetry.stream_metrics import StreamFamilies, StreamMetrics

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
GONE = "gone"
_CLIPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
_PHASES = ("read", "decode", "queue", "preprocess", "infer", "total")
# Labels come from bundles, which a reload may change; Prometheus keeps each label it has seen.
_MAX_LABELS = 256
_OTHER_LABELS = "other"


class ModelFamilies:
    """The metrics that each model has, under its name as the label ``model``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.phases = Histogram(
            "vjepa_phase_seconds",
            "Duration of each phase of an answered clip, without those of low priority",
            ["model", "phase"],
            registry=registry,
            buckets=SECONDS,
        )
        self.batch_clips = Histogram(
            "vjepa_batch_clips", "Clips in a batch", ["model"], buckets=_CLIPS, registry=registry
        )
        self.cancelled = self._counter(
            "vjepa_clips_cancelled",
            "Clips cancelled in the queue (started=no) or in the engine (started=yes)",
            "started",
            "reason",
        )
        self.failures = self._counter("vjepa_engine_failures", "Batches in which the engine failed")
        self.labels = self._counter("vjepa_clips", "Answered clips, by most probable label", "label")
        self.low_priority = self._counter("vjepa_low_priority_clips", "Answered clips of low priority")
        self.reloads = self._counter("vjepa_reloads", "Reloads of the bundle, by outcome", "outcome")
        self.checks = self._counter(
            "vjepa_canary_checks", "Reference clips that an engine in service answered, by outcome", "outcome"
        )
        # Its label ``model`` has always been the checkpoint.
        self.engine = Info("vjepa_engine", "The engines in service", ["served_as"], registry=registry)
        self.streams = StreamFamilies(registry, SECONDS)
        self._gauges: dict[str, Gauge] = {}

    def gauge(self, name: str, text: str) -> Gauge:
        """The gauge of that name for all models."""
        if name not in self._gauges:
            self._gauges[name] = Gauge(name, text, ["model"], registry=self.registry)
        return self._gauges[name]

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, ["model", *labels], registry=self.registry)


class ModelMetrics:
    """The metrics of the model ``name``.

    Invariant: only the event loop calls the methods, so ``_known_labels`` needs no lock.
    """

    def __init__(self, families: ModelFamilies, name: str) -> None:
        self._families, self._name = families, name
        # The figures of the Open Inference Protocol, which Prometheus has in other forms.
        self.statistics = Statistics()
        self.streams = StreamMetrics(families.streams, name, self.answered_request)
        self.batch_clips = families.batch_clips.labels(name)
        self.engine_failures = families.failures.labels(name)
        self._phases = {phase: families.phases.labels(name, phase) for phase in _PHASES}
        self._low_priority = families.low_priority.labels(name)
        self._known_labels: set[str] = set()
        self._preset()

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge whose ``value`` is called at each scrape."""
        self._families.gauge(name, text).labels(self._name).set_function(value)

    def engine(self, description: Mapping[str, object]) -> None:
        """Describe the engine in service."""
        self._families.engine.labels(self._name).info({name: str(value) for name, value in description.items()})

    def no_engine(self) -> None:
        """No engine is in service any more."""
        self._families.engine.remove(self._name)

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
        self._families.labels.labels(self._name, label).inc()

    def answered_request(self, clips: Sequence[tuple[ClipTimes, str | None]], *, low_priority: bool = False) -> None:
        """Count the answered clips of one request, or one window of a stream, each as ``answered`` does."""
        for times, label in clips:
            self.answered(times, label, low_priority=low_priority)
        if not low_priority:
            self.statistics.succeeded([times for times, _ in clips])

    def cancelled(self, reason: str, *, started: bool) -> None:
        """Count a clip that was cancelled because its client is ``gone`` or its ``deadline`` passed."""
        self._families.cancelled.labels(self._name, "yes" if started else "no", reason).inc()

    def reloaded(self, outcome: str) -> None:
        """Count a reload that ``swapped`` the engine or ``kept`` the old one."""
        self._families.reloads.labels(self._name, outcome).inc()

    def checked(self, outcome: str) -> None:
        """Count an answer to a reference clip that was ``right`` or ``wrong``."""
        self._families.checks.labels(self._name, outcome).inc()

    def _preset(self) -> None:
        """Create series before their first event, so that rates over them are right from the start."""
        for started in ("yes", "no"):
            for reason in (GONE, "deadline"):
                self._families.cancelled.labels(self._name, started, reason)
        for outcome in ("swapped", "kept"):
            self._families.reloads.labels(self._name, outcome)
        for outcome in ("right", "wrong"):
            self._families.checks.labels(self._name, outcome)
