"""What an export is known by: every module that decides what a bundle holds is part of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from export.bundling.stage_cache import CODE_FOLDERS, code_digest
from tests.live_server import ROOT

MODULES = sorted(file.relative_to(ROOT).as_posix() for folder in CODE_FOLDERS for file in (ROOT / folder).rglob("*.py"))


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code folders in a directory of their own, so that they can be changed."""
    root = tmp_path_factory.mktemp("code")
    for folder in CODE_FOLDERS:
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def test_a_copy_of_the_code_gives_the_same_digest(copied: Path) -> None:
    assert code_digest(copied) == code_digest()


def test_the_code_that_makes_bundles_is_among_the_modules() -> None:
    assert {
        "engines/preprocessing/cpu.py",
        "export/architectures/vjepa2/checkpoint.py",
        "export/architectures/vjepa2/network.py",
        "export/compilers/compile.py",
        "export/demo/rendering/clips.py",
        "export/network/references.py",
    } <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_change_of_a_module_gives_another_digest(copied: Path, module: str) -> None:
    before = code_digest(copied)
    content = (copied / module).read_bytes()
    (copied / module).write_bytes(content + b"\n# changed\n")
    try:
        assert code_digest(copied) != before
    finally:
        (copied / module).write_bytes(content)


def test_a_new_module_gives_another_digest(copied: Path) -> None:
    before = code_digest(copied)
    (copied / CODE_FOLDERS[0] / "added.py").touch()
    try:
        assert code_digest(copied) != before
    finally:
        (copied / CODE_FOLDERS[0] / "added.py").unlink()
