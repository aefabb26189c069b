"""All metrics of the service for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from server.telemetry.gpu_metrics import GpuCollector
from server.telemetry.log_queue import DROPPED_LINES
from server.telemetry.model_metrics import GONE, ModelFamilies, ModelMetrics

# A creation time for each counter would double the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call]

# Why the service closes connections.
CLOSED_FOR = ("slow_header", "too_many", "unread_answer", "no_descriptor")

# Why streams end, by the code that closes the WebSocket.
_ENDS = {1000: "ended", 1001: "stopped", 1006: "gone", 1008: "policy", 1009: "too_big", 1013: "overloaded"}
_OTHER_END = "other"

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
FAILED = "failed"


def outcome_of(status: int) -> str:
    """The ``outcome`` label under which an answer with the HTTP ``status`` is counted."""
    return _OUTCOMES.get(status, FAILED)


class Metrics:
    """The metrics of one service, in a registry of their own, so that two services in one process do not mix.

    Invariant: only the event loop calls the methods.
    """

    def __init__(self, states: Iterable[str]) -> None:
        self.registry = registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector, GpuCollector):
            collector(registry=registry)
        self._received = Counter("vjepa_requests_received", "Requests to classify a clip", registry=registry)
        self._outcomes = Counter(
            "vjepa_requests",
            "Requests to classify a clip, by outcome; model is empty where it was not known yet",
            ["model", "outcome"],
            registry=registry,
        )
        self._state = Enum(
            "vjepa_engine_state", "State of the service, as /health reports it", states=list(states), registry=registry
        )
        self._families = ModelFamilies(registry)
        self._connections = Gauge("vjepa_connections", "Open connections", registry=registry)
        self._closed = Counter(
            "vjepa_connections_closed", "Connections that the service closed, by reason", ["reason"], registry=registry
        )
        for reason in CLOSED_FOR:
            self._closed.labels(reason)
        self._streams_ended = Counter(
            "vjepa_streams_ended", "Streams that ended, by reason", ["reason"], registry=registry
        )
        for end in (*_ENDS.values(), _OTHER_END):
            self._streams_ended.labels(end)
        registry.register(DROPPED_LINES)

    def of_model(self, name: str) -> ModelMetrics:
        """The metrics of the model ``name``; called once for each."""
        for outcome in (*_OUTCOMES.values(), GONE, FAILED):
            self._outcomes.labels(name, outcome)
        return ModelMetrics(self._families, name)

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge whose ``value`` is called at each scrape."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)

    def received(self) -> None:
        """Count a request to classify a clip."""
        self._received.inc()

    def ended(self, outcome: str, model: str) -> None:
        """Count the end of a received request for ``model``, empty where it was not known yet."""
        self._outcomes.labels(model, outcome).inc()

    def state(self, name: str) -> None:
        self._state.state(name)

    def closed(self, reason: str) -> None:
        """Count a connection that the service closed: one of ``CLOSED_FOR``."""
        self._closed.labels(reason).inc()

    def stream_ended(self, code: int) -> None:
        """Count a stream whose WebSocket was closed with ``code``."""
        self._streams_ended.labels(_ENDS.get(code, _OTHER_END)).inc()

    def connected(self, clients: int) -> None:
        """Set the number of open connections."""
        self._connections.set(clients)
