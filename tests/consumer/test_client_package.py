"""The client package as other programs use it: without the libraries that only the consumer needs."""

from __future__ import annotations

import subprocess
import sys

import consumer.client
import consumer.sync_client
from tests.consumer.processes import ROOT

UNAVAILABLE = ("av", "configargparse", "PIL", "prometheus_client", "pythonjsonlogger")
ALLOWED = ("consumer.client", "consumer.errors", "consumer.retry", "consumer.shown_text")

PROGRAM = f"""
import sys
for name in {UNAVAILABLE}:
    sys.modules[name] = None  # makes every import of it fail
from consumer.client import Client
Client("http://localhost:8000")
print(*(name for name in sys.modules if name.split(".")[0] in ("consumer", "sampling")))
"""


def test_client_imports_neither_pyav_nor_other_parts_of_the_consumer() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == 0, ran.stderr
    modules = ran.stdout.split()
    assert "consumer.client.sync_client" in modules
    foreign = [name for name in modules if name != "consumer" and not name.startswith(ALLOWED)]
    assert foreign == []


def test_client_package_exports_its_documented_names() -> None:
    assert all(hasattr(consumer.client, name) for name in consumer.client.__all__)
    assert {"Answer", "AsyncClient", "Client", "Prediction"} <= set(consumer.client.__all__)


def test_sync_client_module_is_an_alias() -> None:
    assert consumer.sync_client.Client is consumer.client.Client
