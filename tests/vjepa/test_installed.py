"""``pip install .`` into an environment of its own, and the command ``vjepa`` that this gives."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.live_server import ROOT
from tests.newcomer import clone_into
from vjepa.doctor import FEATURES


@pytest.fixture(scope="module")
def vjepa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed command. Its dependencies and pip are those of the tests' environment."""
    pytest.importorskip("setuptools")
    clone = clone_into(tmp_path_factory.mktemp("clone"))
    install = "-m pip install --quiet --no-deps --no-build-isolation --disable-pip-version-check --ignore-installed ."
    installed = clone.run([".venv/bin/python", *install.split()])
    assert installed.returncode == 0, installed.stderr
    return clone.path / ".venv/bin/vjepa"


def _run(vjepa: Path, *arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    # Another directory than that of the clone, so that only what was installed is found.
    environment = {"PATH": f"{vjepa.parent}:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(
        [vjepa, *arguments], cwd=directory, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_installed_command_knows_its_version_and_commands(vjepa: Path, tmp_path: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert _run(vjepa, "--version", directory=tmp_path).stdout == f"vjepa2-serve {version}\n"
    told = _run(vjepa, directory=tmp_path)
    assert told.returncode == 0
    for name in ("serve", "export", "consume", "label", "demo", "doctor"):
        assert f"\n  {name} " in told.stdout
        shown = _run(vjepa, name, "--help", directory=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.startswith(f"usage: vjepa {name} [-h]")


def test_installed_demo_answers_from_the_files_that_were_installed(vjepa: Path, tmp_path: Path) -> None:
    shown = _run(vjepa, "demo", "--save", "sample.mp4", directory=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "Right: the motion drawn came first." in shown.stdout
    assert (tmp_path / "sample.mp4").read_bytes() == (ROOT / "export/demo/sample.mp4").read_bytes()


def test_installed_doctor_tells_what_runs_and_how_to_get_the_rest(vjepa: Path, tmp_path: Path) -> None:
    told = _run(vjepa, "doctor", directory=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "yes  serve the demo on this CPU" in told.stdout
    assert "`vjepa serve` takes demo: no bundle was built that runs here" in told.stdout
    for feature in FEATURES:
        assert f"  {feature.name}" in told.stdout


def test_installed_list_pins_and_unpins_a_bundle(vjepa: Path, tmp_path: Path) -> None:
    pytest.importorskip("rich")
    used = _run(vjepa, "export", "use", "demo", directory=tmp_path)
    assert used.returncode == 0, used.stderr
    assert "demo (pinned)" in _run(vjepa, "export", "list", directory=tmp_path).stdout
    assert "takes demo: pinned with `vjepa export use demo`" in _run(vjepa, "doctor", directory=tmp_path).stdout
    assert _run(vjepa, "export", "use", "auto", directory=tmp_path).returncode == 0
    assert "(pinned)" not in _run(vjepa, "export", "list", directory=tmp_path).stdout


def test_hints_of_the_installed_command_name_it(vjepa: Path, tmp_path: Path) -> None:
    missing = _run(vjepa, "serve", "nowhere", directory=tmp_path)
    assert missing.returncode == 2
    assert "build one with `vjepa export MODEL`" in missing.stderr


def test_doctor_names_each_missing_module_and_the_command_that_brings_it(tmp_path: Path) -> None:
    """In an environment without any of the optional packages."""
    hide = (
        "import runpy, sys, importlib.util as util\n"
        "find, hidden = util.find_spec, {'torch', 'transformers', 'onnx', 'aiomqtt', 'nncf', 'opentelemetry.sdk'}\n"
        "util.find_spec = lambda name, *more: None if name in hidden else find(name, *more)\n"
        "sys.argv = ['doctor']\n"
        "runpy.run_module('vjepa.doctor', run_name='__main__', alter_sys=True)"
    )
    told = subprocess.run([sys.executable, "-c", hide], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    (export,) = (line for line in told.stdout.splitlines() if "export checkpoints" in line)
    assert export.startswith("no   export checkpoints: needs torch, transformers, onnx: ")
    assert "[export]'" in export
    (events,) = (line for line in told.stdout.splitlines() if "MQTT" in line)
    assert "needs aiomqtt: " in events
    assert "[mqtt]'" in events


def test_every_extra_that_the_doctor_names_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {feature.extra for feature in FEATURES} <= extras.keys()
