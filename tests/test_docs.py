"""What README and docs say is so: their commands, endpoints, flags, figures, links and pictures.

Tests of README's commands word for word are in tests/test_readme.py.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import dropwhile
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import imageio_ffmpeg
import pytest
import yaml

from engines.storage.bundle import DEMO
from export.demo.show import SAMPLE
from tests.live_server import ROOT, LiveServer, run_module

DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
# What these say of modules and flags was true when it was written.
_HISTORY = ("CHANGELOG.md", "decisions")
TROUBLESHOOTING = ROOT / "docs/troubleshooting.md"
TOOLS = Path(sys.executable).parent
_PROGRAMS = ["server", "export", "consumer", "export.demo", "export.demo.show", "vjepa.doctor", "tests.latency.load"]
_PROGRAMS += ["archive", "evaluation", "teaching"]
_PROGRAMS += ["tests.latency", "tests.latency.cameras"] if (ROOT / "tests/latency/__main__.py").exists() else []
_WITH_COMMANDS = ("export.demo",)
# Of docker-compose, venv and uvicorn, and of the commands of the demo's own recipe.
_OTHERS_FLAGS = {
    "--profile",
    "--cov",
    "--help",
    "--compile",
    "--cache",
    "--plot",
    "--photos",
    "--system-site-packages",
    "--workers",
}


# `just test-quick` runs without torch, and the export's help needs it.
needs_torch = pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="torch is not installed")


def _blocks(document: Path) -> list[str]:
    return re.findall(r"^ *```sh\n(.*?)^ *```", document.read_text(), re.MULTILINE | re.DOTALL)


def _lines() -> Iterator[str]:
    """Every command that starts something of ours, without its comment."""
    for block in (block for document in DOCUMENTS for block in _blocks(document)):
        if not _is_run_here(block):
            yield from (" ".join(shlex.split(line, comments=True)) for line in block.splitlines())


def _is_run_here(block: str) -> bool:
    return block.startswith(("curl", "ffmpeg", "python3 -c"))


# --- commands


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sample video, and an ffmpeg to work on it."""
    directory = tmp_path_factory.mktemp("session")
    shutil.copy(SAMPLE, directory / "sample.mp4")
    (directory / "bin").mkdir()
    (directory / "bin/ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    return directory


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_requests_of_the_other_pages_work_when_pasted(live_server: LiveServer, session: Path) -> None:
    _pasted(next(block for block in _blocks(ROOT / "README.md") if block.startswith("ffmpeg")), live_server, session)
    pages = (page for page in DOCUMENTS if page.parent.name == "docs")
    blocks = [block for page in pages for block in _blocks(page) if _is_run_here(block)]
    assert len(blocks) >= 3
    for block in blocks:
        # The answer to a video has several lines.
        answers = [json.loads(line) for line in _pasted(block, live_server, session).splitlines()]
        assert "status" not in answers[0] or "/health" in block
    assert f"`{_pasted('curl -s localhost:8000/health', live_server, session)}`" in TROUBLESHOOTING.read_text()


def test_messages_of_troubleshooting_are_ours() -> None:
    """What is between the parts that vary is in the code."""
    packages = ("archive", "server", "engines", "consumer", "video")
    code = "".join(path.read_text() for package in packages for path in (ROOT / package).rglob("*.py"))
    first_cells = re.findall(r"^\|([^|]+)\|", TROUBLESHOOTING.read_text(), re.MULTILINE)
    messages = [message for cell in first_cells for message in re.findall("`([^`]+)`", cell)]
    assert len(messages) > 20
    for message in messages:
        for part in message.split("..."):
            assert part.strip() in code, message


def _pasted(block: str, live_server: LiveServer, directory: Path) -> str:
    """What ``block`` prints, word for word but for the port."""
    script = block.replace("localhost:8000", live_server.url.removeprefix("http://"))
    path = f"{directory / 'bin'}:{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", script]
    pasted = subprocess.run(
        command, cwd=directory, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert pasted.returncode == 0, pasted.stderr
    return pasted.stdout


def test_readme_is_short_and_every_page_is_in_the_index() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
    linked = {path.resolve() for path in _linked(ROOT / "docs/README.md")}
    linked |= {path.resolve() for path in _linked(ROOT / "docs/internals/decisions/README.md")}
    assert [page.name for page in DOCUMENTS if "docs" in page.parts and page.resolve() not in linked] == ["README.md"]


def _linked(page: Path) -> Iterator[Path]:
    yield from (page.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()))


@pytest.mark.parametrize(("command", "told"), [("list", "demo"), ("show", "labels"), ("verify", "verified")])
def test_docs_look_at_bundles(command: str, told: str, tmp_path: Path) -> None:
    """At a copy of the demo: what a verification finds is written into the bundle."""
    assert any(line.startswith(f".venv/bin/just export {command}") for line in _lines())
    bundle = shutil.copytree(DEMO, tmp_path / "demo")
    looked = run_module("export", command, *([] if command == "list" else [str(bundle)]))
    assert looked.returncode == 0, looked.stderr
    assert told in looked.stdout


@needs_torch
def test_every_command_is_tried_or_has_flags_that_there_are() -> None:
    """Recipes, modules and their flags exist, subcommands and services too.

    What takes long (the export of a ViT-L), needs a GPU, a camera or a Docker engine is not started.
    """
    lines = list(_lines())
    assert len(lines) > 15
    for line in lines:
        words = list(dropwhile(re.compile(r"[A-Z_\d]+=").match, shlex.split(line)))
        if line.startswith("python3 -m venv .venv && "):
            assert _recipe(words[-1]), line  # .ci/run runs the one of the tests, tests/test_readme.py the demo
        elif words[0] == ".venv/bin/just":
            _check_flags(_module_of(words[1:]), words[2:])
        elif words[:2] == [".venv/bin/python", "-m"]:
            _check_flags(words[2], words[3:])
        elif words[0] == ".venv/bin/ray":
            assert words[1] in ("get-auth-token", "start", "stop")
        elif words[0] == "docker-compose":
            _check_compose(words[1:])
        elif words[0] in ("sudo", "systemctl", "journalctl"):
            _check_systemd(words[1:])
        elif words[0] == "haproxy":
            assert (ROOT / words[2]).exists()  # tests/test_haproxy.py starts it
        else:
            assert words[0] == "docker", f"no test tries: {line}"
            _check_docker(words[1:])


@cache
def _recipe(name: str) -> str:
    shown = subprocess.run([TOOLS / "just", "--show", name], cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


def _module_of(words: list[str]) -> str:
    """The module that ``just words`` starts."""
    (module, *_) = re.findall(r"-m ([\w.]+?)\.?(?:\{\{|\s|\$|\")", _recipe(words[0]))
    return f"{module}.{words[1]}" if words[0] == "bench" and len(words) > 1 and words[1].isalpha() else module


@cache
def _help_of(module: str, *command: str) -> str:
    shown = run_module(module, *command, "--help")
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


def _check_flags(module: str, words: list[str]) -> None:
    command = words[:1] if module in _WITH_COMMANDS else []
    for flag in (word.strip("[]") for word in words if word.strip("[]").startswith("--")):
        assert re.search(rf"(?<!\w){re.escape(flag)}\b", _help_of(module, *command)), (
            f"python -m {module} has no {flag}"
        )


def _check_compose(words: list[str]) -> None:
    files = []
    while words[0] == "-f":
        files.append(words[1])
        words = words[2:]
    compose: dict[str, Any] = {}
    for file in files or ["docker-compose.yml"]:
        for name, service in yaml.safe_load((ROOT / file).read_text())["services"].items():
            compose[name] = compose.get(name, {}) | service
    profiles = {profile for service in compose.values() for profile in service.get("profiles", ())}
    while words[0] == "--profile":
        assert words[1] in profiles
        words = words[2:]
    command, *rest = words
    assert command in ("build", "up", "run")
    named = [word for word in rest if not word.startswith("-")]
    assert not named or named[0] in compose
    if command == "run":
        _check_flags(compose[named[0]]["entrypoint"][-1], named[1:])


def _check_systemd(words: list[str]) -> None:
    """Files that are copied exist, and units are among those of `deploy/`."""
    named = [word for word in words if word.startswith(("deploy/", "vjepa2-"))]
    assert named
    for name in named:
        unit = ROOT / (name if "/" in name else f"deploy/systemd/{name}.service")
        assert unit.is_file(), f"there is no unit {name}"


def _check_docker(words: list[str]) -> None:
    images = {
        service["image"] for service in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    }
    assert words[0] in ("build", "run")
    assert images & set(words)
    if words[0] == "build":
        assert f" AS {words[words.index('--target') + 1]}\n" in (ROOT / "Dockerfile").read_text()


def test_ci_runs_readme_s_own_test_command() -> None:
    run = (ROOT / ".ci/run").read_text()
    (pattern,) = re.findall(r"grep -m 1 -E '([^']+)' README.md", run)
    assert len(re.findall(pattern, (ROOT / "README.md").read_text(), re.MULTILINE)) == 1


# --- what is named


def test_every_endpoint_is_documented(live_server: LiveServer) -> None:
    with urlopen(live_server.url) as answer:
        listed = json.load(answer)["endpoints"]
    told = re.findall(
        r"`((?:GET|POST) /[^`]*)`", "\n".join(re.findall(r"^\|.*", (ROOT / "docs/http.md").read_text(), re.MULTILINE))
    )
    assert sorted(told) == listed


def test_every_status_is_documented(live_server: LiveServer) -> None:
    with urlopen(f"{live_server.url}/openapi.json") as answer:
        paths = json.load(answer)["paths"]
    statuses = {status for path in paths.values() for operation in path.values() for status in operation["responses"]}
    told = re.findall(r"^\| (\d\d\d) \|", (ROOT / "docs/http.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(statuses - {"200"})


def _is_history(document: Path) -> bool:
    return document.name in _HISTORY or document.parent.name in _HISTORY


@needs_torch
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_flag_and_figure_and_link_there_is(document: Path, live_server: LiveServer) -> None:
    text = document.read_text()
    known = "".join(map(_help_of, _PROGRAMS)) + (ROOT / "tests/gpu/run.sh").read_text()
    code = " ".join(re.findall(r"`([^`\n]+)`", text))
    flags = set() if _is_history(document) else set(re.findall(r"(?<![\w-])--[a-z][\w-]+", code)) - _OTHERS_FLAGS
    for flag in flags:
        assert re.search(rf"(?<!\w){flag}\b", known), f"there is no {flag}"
    with urlopen(f"{live_server.url}/metrics") as answer:
        metrics = answer.read().decode()
    consumer = "".join(path.read_text() for path in (ROOT / "consumer").rglob("*.py"))
    for name in set(re.findall(r"\bvjepa_[a-z_]+\b", text)):
        known_here = f"# TYPE {name.removesuffix('_bucket')} " in metrics
        assert known_here or f'"{re.sub("_(total|bucket)$", "", name)}"' in consumer, f"there is no {name}"
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (document.parent / link).exists(), link


def test_the_picture_asks_nobody_for_anything(tmp_path: Path) -> None:
    """It is drawn anew as it was drawn, from what the demo prints now."""
    drawn = tmp_path / "demo.svg"
    subprocess.run([sys.executable, ROOT / "docs/picture.py", drawn], check=True)
    for picture in (drawn, ROOT / "docs/images/demo.svg"):
        text = picture.read_text()
        assert "Right:" in text.replace("&#160;", " ")
        assert not re.search(r"(?:url\(|href=|src=)[\"']?https?:", text)


@pytest.mark.parametrize("document", ["docs/reliability.md", "docs/internals/inference-protocol.md"])
def test_every_promise_s_test_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    files = list((ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+(?:\.py)?)`", text))
    assert len(named) > 15
    source = "\n".join(path.read_text() for path in files)
    missing = named - {path.name for path in files} - set(re.findall(r"def (test_\w+)\(", source))
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_a_document_names_exists(document: Path) -> None:
    if _is_history(document):
        pytest.skip("a record of the past")
    code = " ".join(re.findall(r"`([^`\n]+)`", document.read_text()))
    named = re.findall(
        r"(?<![\w./<-])((?:archive|server|engines|export|consumer|sampling|tests|video)/[\w./-]*\w)", code
    )
    # What an export keeps between runs is there only after one.
    assert [path for path in named if not (ROOT / path).exists() and path != "engines/bundles/.work"] == []


def test_every_file_of_the_quick_tests_exists() -> None:
    listed = (ROOT / "tests/quick.txt").read_text().split()
    assert listed == [path for path in listed if _is_there(*path.split("::"))]
    assert len(set(listed)) == len(listed)


def _is_there(file: str, test: str = "") -> bool:
    return (ROOT / file).is_file() and f"def {test}" in (ROOT / file).read_text()
