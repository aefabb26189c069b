"""The Prometheus metrics of the consumer."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, start_http_server

from consumer.errors import OutputError

Outcome = Literal["classified", "dropped", "failed", "partial", "still"]

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The metrics; all methods are thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._clips = Counter(
            "vjepa_consumer_clips",
            "Clips by outcome: classified, dropped (outdated), failed (refused by the service), partial (discarded at a"
            " gap) or still (passed over, because nothing moves)",
            ["source", "outcome"],
            registry=self.registry,
        )
        self._latency = Histogram(
            "vjepa_consumer_clip_latency_seconds",
            "Time from the start of encoding a clip to its answer, including retries",
            ["source"],
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self._retries = Counter(
            "vjepa_consumer_retries", "Number of times that a clip was sent again", ["source"], registry=self.registry
        )
        self._in_flight = Gauge("vjepa_consumer_requests_in_flight", "Requests in flight", registry=self.registry)
        self._up = Gauge(
            "vjepa_consumer_source_up", "1 while a live source sends frames, else 0", ["source"], registry=self.registry
        )
        self._connections = Counter(
            "vjepa_consumer_connections", "Connections made to a live source", ["source"], registry=self.registry
        )
        self._events = Counter(
            "vjepa_consumer_events", "Starts and ends of actions", ["source", "event"], registry=self.registry
        )
        self._events_lost = Counter(
            "vjepa_consumer_events_lost", "Events that could not be delivered", registry=self.registry
        )
        self._saved = Counter(
            "vjepa_consumer_clips_saved",
            "Clips and recordings of actions to save, by outcome: saved or failed",
            ["outcome"],
            registry=self.registry,
        )

    def serve(self, host: str, port: int) -> None:
        """Serve the metrics at ``host`` and ``port`` in a separate thread; raises OutputError."""
        try:
            start_http_server(port, addr=host, registry=self.registry)
        except (OSError, UnicodeError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            hint = "use a free port, and for --metrics-host an address of this machine"
            raise OutputError(f"cannot listen on --metrics-port {port} of {host}: {reason}", hint) from error

    def clip(self, source: str, outcome: Outcome) -> None:
        """Count the outcome of a clip."""
        self._clips.labels(source, outcome).inc()

    def partial(self, source: str) -> None:
        """Frames were discarded because they did not fill a clip."""
        self.clip(source, "partial")

    def answered(self, source: str, latency_s: float) -> None:
        """A clip was classified."""
        self.clip(source, "classified")
        self._latency.labels(source).observe(latency_s)

    def retried(self, source: str) -> None:
        """A clip is sent again."""
        self._retries.labels(source).inc()

    def in_flight(self, change: int) -> None:
        """A request began (1) or ended (-1)."""
        self._in_flight.inc(change)

    def connected(self, source: str, up: bool) -> None:
        """A live source was connected, or its connection ended."""
        self._up.labels(source).set(up)
        if up:
            self._connections.labels(source).inc()

    def event(self, source: str, event: str) -> None:
        """An action started or ended."""
        self._events.labels(source, event).inc()

    def event_lost(self) -> None:
        """An event could not be delivered."""
        self._events_lost.inc()

    def saved(self, success: bool) -> None:
        """A clip was saved, or saving it failed."""
        self._saved.labels("saved" if success else "failed").inc()
