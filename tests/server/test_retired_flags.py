"""Flags of earlier releases end the start with a message that names the alternative."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.live_server import ROOT, run_module

INSTEAD = "run one instance for each behind a load balancer"


@pytest.mark.parametrize("arguments", [("--http-workers", "2"), ("--http-worker-timeout-s", "30")])
def test_retired_flag_ends_the_start_and_names_the_alternative(arguments: tuple[str, str]) -> None:
    ended = run_module("server", *arguments)
    assert ended.returncode == 2
    first, _ = ended.stderr.splitlines()
    assert f"{arguments[0]} is gone" in first
    assert INSTEAD in first


def test_retired_environment_variable_ends_the_start() -> None:
    environment = os.environ | {"VJEPA_HTTP_WORKERS": "2"}
    command = [sys.executable, "-m", "server"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60, check=False)
    assert ended.returncode == 2
    assert INSTEAD in ended.stderr


def test_retired_flags_are_not_in_the_help() -> None:
    assert "--http-worker" not in run_module("server", "--help").stdout
