"""The code digest covers every module that determines the content of a bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from export.bundling.stage_cache import CODE_FOLDERS, code_digest
from tests.live_server import ROOT

MODULES = sorted(file.relative_to(ROOT).as_posix() for folder in CODE_FOLDERS for file in (ROOT / folder).rglob("*.py"))


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code folders that a test may change."""
    root = tmp_path_factory.mktemp("code")
    for folder in CODE_FOLDERS:
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def test_copied_code_has_the_same_digest(copied: Path) -> None:
    assert code_digest(copied) == code_digest()


def test_digest_covers_the_modules_that_make_bundles() -> None:
    assert {
        "engines/preprocessing/cpu.py",
        "export/architectures/vjepa2/checkpoint.py",
        "export/architectures/vjepa2/network.py",
        "export/compilers/compile.py",
        "export/demo/rendering/clips.py",
        "export/network/references.py",
    } <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_changed_module_changes_the_digest(copied: Path, module: str) -> None:
    before = code_digest(copied)
    content = (copied / module).read_bytes()
    (copied / module).write_bytes(content + b"\n# changed\n")
    try:
        assert code_digest(copied) != before
    finally:
        (copied / module).write_bytes(content)


def test_new_module_changes_the_digest(copied: Path) -> None:
    before = code_digest(copied)
    (copied / CODE_FOLDERS[0] / "added.py").touch()
    try:
        assert code_digest(copied) != before
    finally:
        (copied / CODE_FOLDERS[0] / "added.py").unlink()
