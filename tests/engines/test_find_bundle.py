"""Where a bundle is looked for: a directory that holds one wins over a name in ``engines/bundles``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engines.storage.bundle import DEMO, find_bundle
from tests.live_server import ROOT


def test_a_name_finds_the_bundle_that_was_built_here() -> None:
    assert find_bundle("demo") == DEMO


def test_a_directory_of_that_name_wins_if_it_holds_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(DEMO, "demo")
    assert find_bundle("demo") == Path("demo")


def test_a_directory_of_that_name_without_a_bundle_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    assert find_bundle("demo") == DEMO


@pytest.mark.parametrize("command", [("-m", "server"), ("-m", "export", "show")])
def test_server_and_export_look_in_the_same_places(command: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("rich")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = [sys.executable, *command, "missing"]
    ended = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60, check=False)
    assert ended.returncode == 2
    assert "no engine bundle" in ended.stderr
