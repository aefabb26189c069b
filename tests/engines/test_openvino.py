"""OpenVINO is loaded on request only, and without its telemetry."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("openvino")

_LOAD = """
import os, sys
def no_fork():
    raise AssertionError("forked")
os.register_at_fork(before=no_fork)
import engines.runtimes.openvino
print({"openvino", "openvino_telemetry"} & sys.modules.keys())
engines.runtimes.openvino.cpu_name()
print(sys.modules["openvino_telemetry"], "multiprocessing" in sys.modules)
"""


def test_import_loads_nothing_and_openvino_starts_no_telemetry() -> None:
    done = subprocess.run([sys.executable, "-c", _LOAD], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    imported, loaded = done.stdout.splitlines()
    assert imported == "set()"
    assert loaded.split()[0] == "None"
