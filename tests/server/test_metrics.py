"""The metrics, and the dashboard and alerts that use them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from typing import get_args

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from consumer.output.metrics import Metrics as ConsumerMetrics
from consumer.output.metrics import Outcome
from engines.storage.bundle import DEMO
from export.demo.labels import LABELS
from server.serving.service import State
from server.telemetry.gpu_metrics import GpuCollector
from server.telemetry.metrics import Metrics
from server.telemetry.phases import ClipTimes
from tests.live_server import ROOT, LiveServer, serving
from tests.server.peers import clients, encoded, metrics, send, small_clips

BODY = encoded(small_clips(1)[0])
DASHBOARD = ROOT / "deploy/grafana-dashboard.json"
ALERTS = ROOT / "deploy/prometheus-alerts.yml"
SCRAPE = ROOT / "deploy/prometheus.yml"
# Metrics that exist only on machines with a GPU.
GPU = {f"vjepa_gpu_{name}" for name in ("memory_used_bytes", "memory_total_bytes", "utilization_ratio")}
# ``up`` is created by Prometheus itself, and the others by HAProxy (``tests/test_haproxy.py``).
ELSEWHERE = {"up", "haproxy_server_status"} | GPU
_NO_METRICS = {"and", "by", "or", "le", "sum", "rate", "topk", "changes", "increase", "histogram_quantile"}


async def test_requests_clips_and_phases_are_counted() -> None:
    with serving(DEMO) as server:
        async with clients(server) as session:
            answers = [await send(session, BODY) for _ in range(3)]
            assert (await send(session, b"{")).status == 400
            async with session.get("/api/v1/infer"):
                pass
            counted = await metrics(session)
    top = answers[0].body["predictions"][0]["label"]
    assert counted["vjepa_requests_received_total"] == 4
    assert counted['vjepa_requests_total{outcome="answered"}'] == 3
    assert counted['vjepa_requests_total{outcome="unreadable"}'] == 1
    assert counted[f'vjepa_clips_total{{label="{top}"}}'] == 3
    assert counted["vjepa_batch_clips_count"] == counted["vjepa_batch_clips_sum"] == 3
    assert counted['vjepa_engine_state{vjepa_engine_state="healthy"}'] == 1
    assert counted["vjepa_connections"] >= 1
    assert counted["process_resident_memory_bytes"] > 0
    phases = {phase: counted[f'vjepa_phase_seconds_sum{{phase="{phase}"}}'] for phase, _ in ClipTimes().phases()}
    assert all(counted[f'vjepa_phase_seconds_count{{phase="{phase}"}}'] == 3 for phase in phases)
    total_ms = sum(answer.body["timings_ms"]["total"] for answer in answers)
    assert phases["total"] * 1e3 == pytest.approx(total_ms, rel=0.01)
    assert 0 < sum(phases.values()) - phases["total"] <= phases["total"]


def test_number_of_label_series_is_bounded() -> None:
    counted = Metrics(state.value for state in State)
    of_model = counted.of_model("a")
    for index in range(1000):
        of_model.answered(ClipTimes(), f"label {index}")
    (family,) = [one for one in text_string_to_metric_families(counted.text().decode()) if one.name == "vjepa_clips"]
    assert len(family.samples) == 257
    assert max(family.samples, key=lambda sample: sample.value).labels == {"model": "a", "label": "other"}
    assert len(LABELS) < 256


@pytest.mark.gpu
@pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no GPU")
def test_gpu_memory_and_utilization_are_measured() -> None:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    GpuCollector(registry)
    assert registry.get_sample_value("vjepa_gpu_memory_used_bytes", {"gpu": "0"}) > 0
    assert 0 <= registry.get_sample_value("vjepa_gpu_utilization_ratio", {"gpu": "0"}) <= 1


async def test_dashboard_and_alerts_use_existing_metrics(live_server: LiveServer) -> None:
    async with clients(live_server) as session:
        assert (await send(session, BODY)).status == 200
        samples = await metrics(session) | _consumer_samples()
    names = _names(samples) | ELSEWHERE
    expressions = [*_dashboard_expressions(), *_alert_expressions()]
    assert len(expressions) > 40
    for expression in expressions:
        asked = _metrics_in(expression)
        assert asked
        assert asked <= names, (expression, asked - names)
        for label, value in re.findall(r'(\w+)="([\w-]+)"', expression):
            if label in {"outcome", "phase", "started", "vjepa_engine_state"}:
                assert any(f'{label}="{value}"' in series for series in samples), expression
            if label == "job":
                assert value in _jobs(), expression


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for expression in _dashboard_expressions() for name in _metrics_in(expression)}
    families = text_string_to_metric_families(Metrics(state.value for state in State).text().decode())
    families = [*families, *text_string_to_metric_families(generate_latest(ConsumerMetrics().registry).decode())]
    own = {family.name for family in families if family.name.startswith("vjepa_")}
    assert not {name for name in own if not any(one.startswith(name) for one in shown)} - {"vjepa_requests_received"}


def _consumer_samples() -> dict[str, float]:
    """What a consumer serves after each of its metrics has been counted, by series."""
    counted = ConsumerMetrics()
    for outcome in get_args(Outcome):
        counted.clip("a", outcome)
    counted.answered("a", 0.1)
    counted.retried("a")
    counted.connected("a", up=True)
    counted.event("a", "start")
    for success in (True, False):
        counted.saved(success)
    text = generate_latest(counted.registry).decode()
    return {
        series: float(value) for series, value in (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    }


def _names(samples: Iterable[str]) -> set[str]:
    return {series.split("{")[0] for series in samples}


def _jobs() -> set[str]:
    return {job["job_name"] for job in yaml.safe_load(SCRAPE.read_text())["scrape_configs"]}


def _metrics_in(expression: str) -> set[str]:
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|on|without) \([^)]*\)", "", expression)
    return set(re.findall(r"\b[a-z][a-z_]+\b", bare)) - _NO_METRICS


def _dashboard_expressions() -> Iterator[str]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def _alert_expressions() -> Iterator[str]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert {"summary", "description"} <= rule["annotations"].keys()
            yield rule["expr"]
