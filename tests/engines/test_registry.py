"""Which bundle is served when none is named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from engines import manifest as manifests
from engines.runtimes.registry import default_bundle
from engines.storage.bundle import DEMO


def _bundle(path: Path, age_s: int, **changes: object) -> Path:
    shutil.copytree(DEMO, path)
    manifest = manifests.decode((path / "engine.json").read_bytes())
    (path / "engine.json").write_bytes(manifests.encode(msgspec.structs.replace(manifest, **changes)))
    os.utime(path / "engine.json", (1e9 - age_s, 1e9 - age_s))
    return path


def test_default_bundle_is_the_demo_when_nothing_was_built(tmp_path: Path) -> None:
    assert default_bundle(tmp_path) == DEMO


def test_default_bundle_is_the_newest_servable_one(tmp_path: Path) -> None:
    source = manifests.decode((DEMO / "engine.json").read_bytes()).source
    newest = _bundle(tmp_path / "b", age_s=20)
    _bundle(tmp_path / "a", age_s=30)
    _bundle(tmp_path / "other-target", age_s=10, target="tensorrt")
    _bundle(tmp_path / "future", age_s=9, format_version=99)
    _bundle(tmp_path / "for-benchmarks", age_s=8, source=msgspec.structs.replace(source, random_weights=True))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "engine.json").write_text("{")
    assert default_bundle(tmp_path) == newest
