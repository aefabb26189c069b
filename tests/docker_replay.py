"""The Dockerfile as it is written, and its steps replayed without a Docker engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from dockerfile_parse import DockerfileParser

from tests.live_server import ROOT

Step = tuple[str, str]


def stages() -> dict[str, tuple[str, list[Step]]]:
    """Each stage's base and steps, in their order."""
    found: dict[str, tuple[str, list[Step]]] = {}
    for part in DockerfileParser(str(ROOT / "Dockerfile")).structure:
        if part["instruction"] == "FROM":
            base, _, name = part["value"].partition(" AS ")
            steps: list[Step] = []
            found[name] = (base, steps)
        elif part["instruction"] != "COMMENT":
            steps.append((part["instruction"], part["value"]))
    return found


def values(stage: str, instruction: str) -> list[str]:
    return [value for name, value in stages()[stage][1] if name == instruction]


def environment(stage: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for value in values(stage, "ENV") for pair in value.split())


def run_command(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


class Replay:
    """The Dockerfile's steps with ``root`` in place of ``/``. All stages share it: copies between them are none."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.directory = root
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("VJEPA_")}
        self.skipped: list[str] = []

    def inside(self, text: str) -> str:
        """``text`` with the image's own paths under ``root``."""
        return re.sub(r"(?<![\w.])/(?=(?:app|opt)\b)", f"{self.root}/", text)

    def stage(self, name: str) -> None:
        for instruction, value in stages()[name][1]:
            getattr(self, instruction.lower(), self._later)(value)

    def workdir(self, value: str) -> None:
        self.directory = Path(self.inside(value))
        self.directory.mkdir(parents=True, exist_ok=True)

    def env(self, value: str) -> None:
        for name, text in (pair.split("=", 1) for pair in value.split()):
            self.environment[name] = self.inside(text).replace("$PATH", self.environment["PATH"])

    def copy(self, value: str) -> None:
        *words, destination = value.split()
        sources = [word for word in words if not word.startswith("--")]
        if any(word.startswith("--from=") for word in words):
            assert sources == [destination]
            assert Path(self.inside(destination)).exists()
            return
        for source in sources:
            into = self.directory / destination if len(sources) == 1 else self.directory / destination / source
            _copy_tracked(source, into)

    def run(self, value: str) -> None:
        if value.startswith("useradd"):
            self.skipped.append(value)  # it would change this machine
            return
        done = run_command("sh", "-ec", self.inside(value), cwd=self.directory, env=self.environment, timeout=280)
        assert done.returncode == 0, f"{value}: {done.stdout}{done.stderr}"

    def _later(self, value: str) -> None:
        """What says how the image is run."""


def _copy_tracked(source: str, into: Path) -> None:
    """What git knows below ``source``, so that nothing of this checkout but that is in the image."""
    listed = run_command("git", "ls-files", "--", source, cwd=ROOT).stdout.splitlines()
    assert listed, source
    for name in listed:
        place = into / Path(name).relative_to(source) if Path(name) != Path(source) else into
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place)
