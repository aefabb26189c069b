"""The load generator against the real server on its stand-in engine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from engines.storage.bundle import DEMO
from tests.latency.payloads import bgr_clip, payloads, stand_in_label
from tests.latency.phases import PHASES, means_ms, phase_sums
from tests.latency.stand_in_device import label_index
from tests.live_server import ROOT, LiveServer, serving


@pytest.fixture(scope="module")
def stand_in() -> Iterator[LiveServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STAND_IN", "gpu")
        with serving(DEMO, module="tests.latency.stand_in") as server:
            yield server


def place(server: LiveServer) -> tuple[str, int]:
    parts = urlsplit(server.url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


def generate(server: LiveServer, label: str, clients: int = 2) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tests.latency.generator", *map(str, place(server)), str(clients), "0", label]
    request = payloads()["json"].request()
    return subprocess.run(command, cwd=ROOT, input=request, capture_output=True, timeout=120, check=False)


def test_every_client_s_requests_are_timed(stand_in: LiveServer) -> None:
    before = phase_sums(place(stand_in))
    done = generate(stand_in, stand_in_label(), clients=3)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["latencies_ms"]) == 3 * 2
    assert 4 < min(told["latencies_ms"]) <= told["elapsed_s"] * 1e3
    after = phase_sums(place(stand_in))
    assert after["count", "total"] - before["count", "total"] == 3 * 3
    means = means_ms(before, after)
    assert means["infer"] >= 4
    assert sum(means[phase] for phase in PHASES) <= means["total"]


def test_a_wrong_answer_ends_the_measurement(stand_in: LiveServer) -> None:
    done = generate(stand_in, "something else")
    assert done.returncode == 1
    assert stand_in_label().encode() in done.stderr


def test_the_answer_depends_on_pixels_and_their_order() -> None:
    clip = bgr_clip()
    assert label_index(clip) != label_index(clip[..., ::-1])
    assert label_index(clip) != label_index(clip[::-1])
