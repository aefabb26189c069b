"""The recipes as a newcomer starts them, in a clean clone with only ``.venv/bin/just``."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.live_server import ROOT
from tests.newcomer import Clone, clone_into

JUST = ".venv/bin/just"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return clone_into(tmp_path_factory.mktemp("clone"))


@pytest.mark.parametrize("arguments", ["", "--list", "default"])
def test_bare_just_lists_the_recipes(clone: Clone, arguments: str) -> None:
    listed = clone.run(f"{JUST} {arguments}")
    assert listed.returncode == 0, listed.stderr
    for recipe in ("demo", "export", "serve", "consume", "label", "teach", "evaluate", "doctor", "test"):
        assert re.search(rf"^    {recipe}\b", listed.stdout, re.MULTILINE)


@pytest.mark.parametrize("recipe", ["demo", "export", "serve", "consume", "label", "teach", "evaluate", "doctor"])
def test_a_usage_error_takes_two_lines_and_names_a_command_that_works(clone: Clone, recipe: str) -> None:
    ended = clone.run(f"{JUST} {recipe} --no-such-flag")
    assert ended.returncode == 2
    error, help_line = ended.stderr.splitlines()
    assert error == "ERROR there is no flag --no-such-flag"
    (command,) = re.findall(r"`(.*)`", help_line)
    assert command == f"{JUST} {recipe} --help"
    assert clone.run(command).returncode == 0


def test_a_hint_names_a_command_that_works(clone: Clone) -> None:
    ended = clone.run(f"{JUST} serve nowhere")
    assert ended.returncode == 2
    assert f"`{JUST} export MODEL`" in ended.stderr
    assert "error: " not in ended.stderr


@pytest.mark.parametrize("recipe", ["serve --port 0 --log-format text", "consume rtsp://127.0.0.1:9/camera"])
def test_ctrl_c_at_a_terminal_prints_nothing_of_just(clone: Clone, recipe: str) -> None:
    """A terminal sends Ctrl-C to just and to the program."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [JUST, *recipe.split()],
        cwd=clone.path,
        env=clone.environment(),
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
    )
    os.close(end)
    printed = _read_until(terminal, b"ready" if recipe.startswith("serve") else b"waiting")
    os.killpg(process.pid, signal.SIGINT)
    printed += _read_until(terminal, None)
    assert process.wait(60) in (0, 130)
    os.close(terminal)
    assert b"rror: " not in printed
    assert b"recipe" not in printed.lower()


def _read_until(terminal: int, word: bytes | None) -> bytes:
    """What is printed until ``word`` is, or to the end."""
    printed = b""
    while word is None or word not in printed:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            piece = b""
        if not piece:
            break
        printed += piece
    assert word is None or word in printed, printed
    return printed


def test_no_hint_of_the_programs_names_a_bare_just() -> None:
    """A bare ``just`` is on nobody's PATH; ``commandline.programs.command`` names the one that works."""
    rooms = (
        "archive",
        "commandline",
        "consumer",
        "engines",
        "evaluation",
        "export",
        "sampling",
        "server",
        "teaching",
        "video",
        "vjepa",
    )
    sources = (path for room in rooms for path in (ROOT / room).rglob("*.py"))
    named = [path.name for path in sources if re.search(r"(?<!`)`just |\"just |'just ", path.read_text())]
    assert named == []


def test_documents_name_the_just_that_works() -> None:
    """In commands, tables and sentences, in all but the records of the past."""
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    named = [line for path in documents for line in re.findall(r"(?<![/\w])just [a-z].*", _code(path))]
    assert named == []


def _code(document: Path) -> str:
    text = document.read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", text)])
