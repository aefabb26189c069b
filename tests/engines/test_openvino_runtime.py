"""What OpenVINO does beside inference, and is kept from."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("openvino")

_IMPORT = """
import os, sys
def no_fork():
    raise AssertionError("forked")
os.register_at_fork(before=no_fork)
import engines.runtimes.openvino
engines.runtimes.openvino.cpu_name()
print(sys.modules["openvino_telemetry"], "multiprocessing" in sys.modules)
"""


def test_it_sends_nothing_home() -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[0] == "None"
