"""Traces as a collector receives them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pytest_aiohttp import AiohttpServer

from engines.storage.bundle import DEMO
from tests.live_server import ROOT, serving
from tests.server.peers import clients, encoded, send, small_clips

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER_ID = "b7ad6b7169203331"


async def test_request_continues_the_trace_of_its_caller(
    aiohttp_server: AiohttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = asyncio.Queue[ExportTraceServiceRequest]()

    async def collect(request: web.Request) -> web.Response:
        received.put_nowait(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", collect)
    collector = await aiohttp_server(app)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", str(collector.make_url("/")))
    with serving(DEMO, "--tracing") as server:
        async with clients(server) as session:
            caller = {"traceparent": f"00-{TRACE_ID}-{CALLER_ID}-01"}
            assert (await send(session, encoded(small_clips(1)[0]), caller)).status == 200
        assert await asyncio.to_thread(server.stop) == 0
    (resource,) = (await asyncio.wait_for(received.get(), 30)).resource_spans
    spans = {span.name: span for scope in resource.scope_spans for span in scope.spans}
    whole = spans.pop("POST /api/v1/infer")
    assert (whole.trace_id.hex(), whole.parent_span_id.hex()) == (TRACE_ID, CALLER_ID)
    assert spans.keys() == {"read", "decode", "queue", "preprocess", "infer"}
    for span in spans.values():
        assert (span.trace_id.hex(), span.parent_span_id) == (TRACE_ID, whole.span_id)
        assert span.start_time_unix_nano <= span.end_time_unix_nano <= whole.end_time_unix_nano
    assert spans["infer"].end_time_unix_nano > spans["infer"].start_time_unix_nano


def test_missing_tracing_extra_is_reported_in_one_line() -> None:
    command = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import runpy; sys.argv = ['server', 'demo', '--port', '0', '--tracing', '--log-format', 'text']\n"
        "runpy.run_module('server', run_name='__main__')"
    )
    refused = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, cwd=ROOT, env=os.environ, timeout=60
    )
    assert refused.returncode == 2
    assert "vjepa2-serve[tracing]" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
