"""Hints name commands in the way in which the user starts the programs, and these commands work."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from commandline.programs import STARTED_BY, command


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no program of ours on the PATH."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv(STARTED_BY, raising=False)
    return tmp_path


def test_a_program_started_as_a_module_names_modules_of_the_same_interpreter(here: Path) -> None:
    assert command("export", "show", "demo") == f"{sys.executable} -m export show demo"


def test_a_program_in_the_directory_is_named_by_its_relative_path(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STARTED_BY, str(here / ".venv/bin/just"))
    assert command("serve") == ".venv/bin/just serve"


def test_a_program_that_the_shell_finds_is_named_by_its_name(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "bin").mkdir()
    (here / "bin/vjepa").touch(mode=0o755)
    monkeypatch.setenv(STARTED_BY, str(here / "bin/vjepa"))
    monkeypatch.setenv("PATH", f"{here}/bin:/usr/bin")
    assert command("serve") == "vjepa serve"


def test_a_path_with_a_blank_can_be_pasted(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STARTED_BY, "/with a blank/vjepa")
    assert shlex.split(command("serve", "my bundle")) == ["/with a blank/vjepa", "serve", "my bundle"]
