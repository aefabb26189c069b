"""Which bundle is served when none is named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from engines import manifest as manifests
from engines.device.cuda_driver import CudaDevice
from engines.manifest import Device
from engines.runtimes.default_bundle import Choice, default_bundle
from engines.storage.bundle import DEMO
from engines.storage.pinned_name import pin_bundle, unpin_bundle


def _bundle(path: Path, age_s: int, **changes: object) -> Path:
    shutil.copytree(DEMO, path)
    manifest = manifests.decode((path / "engine.json").read_bytes())
    (path / "engine.json").write_bytes(manifests.encode(msgspec.structs.replace(manifest, **changes)))
    os.utime(path / "engine.json", (1e9 - age_s, 1e9 - age_s))
    return path


def test_default_bundle_is_the_demo_when_nothing_was_built(tmp_path: Path) -> None:
    chosen = default_bundle(tmp_path)
    assert chosen.path == DEMO
    assert chosen.reason == "no bundle was built that runs here"


def test_default_bundle_is_the_newest_servable_one(tmp_path: Path) -> None:
    source = manifests.decode((DEMO / "engine.json").read_bytes()).source
    newest = _bundle(tmp_path / "b", age_s=20)
    _bundle(tmp_path / "a", age_s=30)
    _bundle(tmp_path / "other-target", age_s=10, target="tensorrt")
    _bundle(tmp_path / "future", age_s=9, format_version=99)
    _bundle(tmp_path / "for-benchmarks", age_s=8, source=msgspec.structs.replace(source, random_weights=True))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "engine.json").write_text("{")
    for place, make in (("pipe", os.mkfifo), ("link", lambda path: path.symlink_to("nowhere"))):
        (tmp_path / place).mkdir()
        make(tmp_path / place / "engine.json")
    chosen = default_bundle(tmp_path)
    assert chosen.path == newest
    assert "the newest verified bundle that runs here; not taken: broken (unreadable), " in chosen.reason
    assert "for-benchmarks (random weights), future (format version 99) and 1 more" in chosen.reason


def test_a_bundle_of_the_former_format_can_be_the_default(tmp_path: Path) -> None:
    former = _bundle(tmp_path / "former", age_s=1, format_version=manifests.READ_VERSIONS[0])
    assert default_bundle(tmp_path).path == former


def test_a_verified_bundle_is_preferred_to_a_newer_one_that_was_not_verified(tmp_path: Path) -> None:
    unverified = _bundle(tmp_path / "unverified", age_s=1, verification=None)
    verified = _bundle(tmp_path / "verified", age_s=2)
    chosen = default_bundle(tmp_path)
    assert chosen.path == verified
    assert chosen.reason.endswith("; not taken: unverified (not verified)")
    shutil.rmtree(verified)
    assert default_bundle(tmp_path) == Choice(unverified, "the newest unverified bundle that runs here")


def test_a_pinned_bundle_is_served_whatever_else_there_is(tmp_path: Path) -> None:
    source = manifests.decode((DEMO / "engine.json").read_bytes()).source
    (tmp_path / "bundles").mkdir()
    pinned = _bundle(tmp_path / "bundles/pinned", age_s=9, source=msgspec.structs.replace(source, random_weights=True))
    newest = _bundle(tmp_path / "bundles/newest", age_s=1)
    elsewhere = _bundle(tmp_path / "elsewhere", age_s=9)
    for path in (pinned, elsewhere):
        pin_bundle(path, tmp_path / "bundles")
        chosen = default_bundle(tmp_path / "bundles")
        assert chosen.path == path
        assert f"export use {path.name}`" in chosen.reason
    unpin_bundle(tmp_path / "bundles")
    assert default_bundle(tmp_path / "bundles").path == newest


@pytest.mark.parametrize(
    ("options", "capability", "runs"),
    [
        ({}, "8.0", True),
        ({}, "9.0", False),
        ({"hardware_compatible": True}, "9.0", True),
        ({"hardware_compatible": True}, "12.0", True),
        ({"hardware_compatible": True}, "7.5", False),
    ],
)
def test_a_plan_is_the_default_on_the_gpus_that_it_runs_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, bool], capability: str, runs: bool
) -> None:
    monkeypatch.setattr("engines.runtimes.default_bundle.cuda_devices", lambda: [CudaDevice("a GPU", capability)])
    monkeypatch.setattr("engines.runtimes.default_bundle.importlib.util.find_spec", lambda name: object())
    device = Device(name="NVIDIA A100", compute_capabilities=("8.0",))
    plan = _bundle(tmp_path / "plan", age_s=1, target="tensorrt", device=device, options=options)
    assert default_bundle(tmp_path).path == (plan if runs else DEMO)
