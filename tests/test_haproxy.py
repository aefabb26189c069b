"""HAProxy's configurations: HAProxy accepts them, and their times fit those of the service; `tests/fleet` uses them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.request import urlopen

import pytest

from server.config.settings import Settings
from tests.docker_replay import run_command
from tests.fleet.haproxy import CONFIGURATION, haproxy, proxying
from tests.live_server import ROOT

CLUSTER = ROOT / "deploy/kubernetes/base/haproxy.cfg"
ADDRESSES = {f"VJEPA_SERVER_{number}": f"127.0.0.1:{number}" for number in (1, 2, 3)}


@pytest.mark.skipif(not haproxy(), reason="HAProxy is not installed")
@pytest.mark.parametrize("configuration", [CONFIGURATION, CLUSTER], ids=["machine", "cluster"])
def test_haproxy_accepts_the_configuration(configuration: Path) -> None:
    program = haproxy()
    assert program
    environment = os.environ | ADDRESSES | {"VJEPA_INSTANCES": "127.0.0.1:1"}
    checked = run_command(program, "-c", "-f", str(configuration), env=environment)
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr + checked.stdout


@pytest.mark.skipif(not haproxy(), reason="HAProxy is not installed")
def test_haproxy_tells_what_the_alert_asks_for(tmp_path: Path) -> None:
    program = haproxy()
    assert program
    with (
        proxying(program, list(ADDRESSES.values()), tmp_path) as proxy,
        urlopen(f"{proxy.stats_url}/metrics") as answer,
    ):
        told = answer.read().decode()
    for number in (1, 2, 3):
        assert f'haproxy_server_status{{proxy="clips",server="{number}",state="DOWN"}}' in told


def test_times_of_haproxy_fit_those_of_the_service() -> None:
    """HAProxy closes idle connections first, and the service decides when a request has taken too long."""
    times_s = _times_s(CONFIGURATION)
    assert times_s["http-keep-alive"] < Settings.keepalive_timeout_s
    assert times_s["http-request"] > Settings.body_timeout_s
    assert times_s["server"] > Settings.deadline_ms / 1e3


def _times_s(configuration: Path) -> dict[str, float]:
    unit_s = {"ms": 1e-3, "s": 1, "h": 3600}
    found = re.findall(r"^    timeout ([\w-]+) (\d+)(\w+)$", configuration.read_text(), re.MULTILINE)
    return {name: int(count) * unit_s[unit] for name, count, unit in found}
