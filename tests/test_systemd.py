"""The units of systemd: systemd accepts them, and what they start is there and stops in the time that they leave."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.config.settings import Settings
from tests.live_server import ROOT

SERVICE, CONSUMER = (ROOT / f"deploy/systemd/vjepa2-{name}.service" for name in ("serve", "consumer"))
INSTALLED = "/opt/vjepa2-serve"


def _values(unit: Path, name: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.read_text().splitlines() if line.startswith(f"{name}=")]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@pytest.mark.parametrize("unit", [SERVICE, CONSUMER], ids=lambda unit: unit.name)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    """With the Python of these tests in place of the installed one, because systemd looks for the program."""
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace(f"{INSTALLED}/.venv/bin/python", sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", str(here)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize("unit", [SERVICE, CONSUMER], ids=lambda unit: unit.name)
def test_the_unit_starts_a_command_and_does_not_repeat_a_wrong_one(unit: Path) -> None:
    """The variables are those of the file that the unit reads; the code is the one that it excludes from restarts."""
    (started,) = _values(unit, "ExecStart")
    python, option, module = shlex.split(started)
    assert (python, option) == (f"{INSTALLED}/.venv/bin/python", "-m")
    wrong = {"VJEPA_PORT": "x", "VJEPA_CONSUMER_SOURCES": "missing.mp4"}
    ended = subprocess.run(
        [sys.executable, "-m", module], cwd=ROOT, env=os.environ | wrong, capture_output=True, check=False
    )
    assert _values(unit, "RestartPreventExitStatus") == [str(ended.returncode)] == ["2"]
    assert _values(unit, "Restart") == ["on-failure"]


def test_the_unit_leaves_the_service_the_time_to_stop() -> None:
    (timeout_s,) = _values(SERVICE, "TimeoutStopSec")
    assert int(timeout_s) > Settings.drain_delay_s + Settings.drain_timeout_s
