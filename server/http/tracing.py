"""OpenTelemetry traces: a span for each request, as part of the caller's trace, and one below it for each phase."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from server.http.context import FIRST_BYTE_S, LOG_FIELDS
from server.http.endpoint import policy_of

_PHASES = ("read", "decode", "queue", "preprocess", "infer")


class Tracing:
    """Sends spans to ``OTEL_EXPORTER_OTLP_ENDPOINT`` in batches; the SDK's environment variables set the rest."""

    def __init__(self) -> None:
        # The environment's OTEL_SERVICE_NAME wins over this name.
        self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "vjepa2-serve"}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=5)))
        self._tracer = self._provider.get_tracer("vjepa2-serve")

    @property
    def middleware(self) -> Middleware:
        """A span around every request to an endpoint that is traced."""

        @web.middleware
        async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not policy_of(request).traced:
                return await handler(request)
            span = self._start(request)
            try:
                answer = await handler(request)
                span.set_attribute("http.response.status_code", answer.status)
                self._add_phases(span, request)
                if answer.status >= 500:
                    span.set_status(StatusCode.ERROR)
                return answer
            except asyncio.CancelledError:
                span.set_status(StatusCode.ERROR, "client gone")
                raise
            finally:
                span.end()

        return traced

    async def close(self, _: web.Application) -> None:
        """Send the spans that are not sent yet."""
        await asyncio.to_thread(self._provider.shutdown)

    def _start(self, request: web.Request) -> Span:
        caller = TraceContextTextMapPropagator().extract(request.headers)
        attributes = {"http.request.method": request.method, "url.path": request.path}
        return self._tracer.start_span(f"{request.method} {request.path}", caller, SpanKind.SERVER, attributes)

    def _add_phases(self, span: Span, request: web.Request) -> None:
        timings_ms = request[LOG_FIELDS].get("timings_ms")
        if timings_ms is None:
            return
        context = set_span_in_context(span)
        for phase, began_ns, ended_ns in _spans_ns(timings_ms, _wall_clock_ns(request[FIRST_BYTE_S])):
            self._tracer.start_span(phase, context, start_time=began_ns).end(ended_ns)


def _spans_ns(timings_ms: dict[str, float], began_ns: int) -> Iterator[tuple[str, int, int]]:
    """Name, start and end of each phase; each begins where the one before ends."""
    for phase in _PHASES:
        ended_ns = began_ns + int(timings_ms[phase] * 1e6)
        yield phase, began_ns, ended_ns
        began_ns = ended_ns


def _wall_clock_ns(loop_time_s: float) -> int:
    return time.time_ns() - int((asyncio.get_running_loop().time() - loop_time_s) * 1e9)
