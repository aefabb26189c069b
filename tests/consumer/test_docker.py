"""The consumer's image, as far as it can be tested without a Docker engine."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.consumer.processes import ROOT

TOOLS = Path(sys.executable).parent
COMPOSE = "consumer/docker-compose.yml"
# What a distribution is imported as, where that is not its name.
IMPORTED_AS = {"pillow": "PIL", "prometheus-client": "prometheus_client", "python-json-logger": "pythonjsonlogger"}
# Comes with aiohttp, whose addresses are made of it; looked for on a GPU's machine only.
ELSEWHERE = {"yarl", "pyservicemaker", "cupy"}


def required() -> dict[str, Requirement]:
    lines = (ROOT / "consumer/requirements.txt").read_text().splitlines()
    return {each.name: each for each in (Requirement(line) for line in lines if not line.startswith("#"))}


def imported() -> set[str]:
    """Every package that a module of the consumer's image imports."""
    names: set[str] = set()
    for path in (
        path for room in ("commandline", "consumer", "sampling", "video") for path in (ROOT / room).rglob("*.py")
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {"commandline", "consumer", "sampling", "video"}


def test_image_requirements_match_the_imports() -> None:
    packages = {IMPORTED_AS.get(name, name) for name in required()}
    assert imported() - ELSEWHERE == packages - {"aiomqtt"}


def test_requirement_bounds_match_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["mqtt"]]
    bounds = {each.name: each.specifier for each in map(Requirement, lines)}
    assert {name: each.specifier for name, each in required().items()} == {name: bounds[name] for name in required()}


@pytest.mark.skipif(not (TOOLS / "hadolint").exists(), reason="hadolint has no build for this platform")
def test_dockerfile_passes_hadolint() -> None:
    command = [str(TOOLS / "hadolint"), str(ROOT / "consumer/Dockerfile")]
    linted = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (linted.returncode, linted.stdout) == (0, "")


def test_compose_file_is_valid_and_requires_sources() -> None:
    check = [str(TOOLS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", COMPOSE]
    checked = subprocess.run(check, capture_output=True, text=True, cwd=ROOT, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    if compose := shutil.which("docker-compose"):
        command = [compose, "--file", COMPOSE, "config", "--services"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VJEPA_")}
        nameless = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
        assert "name the sources" in nameless.stderr
        environment["VJEPA_CONSUMER_SOURCES"] = "rtsp://camera/stream"
        named = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
        assert named.stdout.split() == ["consumer"]


def test_compose_variables_are_in_the_help() -> None:
    manual = subprocess.run([sys.executable, "-m", "consumer", "--help"], capture_output=True, text=True, check=True)
    words = "".join(manual.stdout.split())
    service = yaml.safe_load((ROOT / COMPOSE).read_text())["services"]["consumer"]
    assert {name for name in service["environment"] if name not in words} == set()
    assert service["build"]["dockerfile"] == "consumer/Dockerfile"
