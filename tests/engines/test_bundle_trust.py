"""Who may write a bundle whose files are code, and which content is loaded where a digest is pinned."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from engines import manifest as manifests
from engines.errors import BundleDamagedError, BundleUntrustedError
from engines.options import EngineOptions
from engines.runtimes.registry import load_engine
from engines.storage.bundle import DEMO, open_bundle, replace_manifest
from engines.storage.pinned import opened
from export.bundling.staging import write_manifest
from tests.live_server import run_module

OTHER_USER = 12_345
Loosen = Callable[[Path], object]

LOOSENED: dict[str, tuple[Loosen, str]] = {
    "file, world": (lambda bundle: (bundle / "model.onnx").chmod(0o666), "model.onnx may be written by others"),
    "file, group": (lambda bundle: (bundle / "model.onnx").chmod(0o664), "model.onnx may be written by others"),
    "manifest": (lambda bundle: (bundle / "engine.json").chmod(0o666), "engine.json may be written by others"),
    "bundle": (lambda bundle: bundle.chmod(0o777), "bundle may be written by others"),
    "directory that holds it": (lambda bundle: bundle.parent.chmod(0o777), "holder may be written by others"),
    "link": (lambda bundle: _link_elsewhere(bundle / "model.onnx"), "elsewhere may be written by others"),
}


def _link_elsewhere(file: Path) -> None:
    """Move ``file`` to a directory that others may write, and leave a link in its place."""
    elsewhere = file.parents[2] / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o777)
    file.rename(elsewhere / file.name)
    file.symlink_to(elsewhere / file.name)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the demo in a directory of its own."""
    (tmp_path / "holder").mkdir()
    return Path(shutil.copytree(DEMO, tmp_path / "holder" / "bundle"))


@pytest.fixture
def code(bundle: Path) -> Path:
    """A bundle that says that its files are code; it contains no program, which is noticed only when it is loaded."""
    write_manifest(bundle, msgspec.structs.replace(open_bundle(bundle).manifest, target="torch", files=()))
    return bundle


@pytest.mark.parametrize("place", LOOSENED)
def test_code_that_others_may_write_is_refused(code: Path, place: str) -> None:
    loosen, words = LOOSENED[place]
    loosen(code)
    with pytest.raises(BundleUntrustedError, match=words) as refused:
        load_engine(open_bundle(code))
    assert "--trust-writable-bundles" in str(refused.value.help)
    _assert_trusted(code, EngineOptions(device="cpu", trust_writable_bundles=True))


def test_code_in_a_shared_directory_with_the_sticky_bit_is_trusted(code: Path) -> None:
    code.parent.chmod(0o1777)
    _assert_trusted(code)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("place", ["model.onnx", ".", ".."])
def test_code_of_another_user_is_refused_and_that_of_root_is_not(
    code: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    os.chown(code / place, OTHER_USER, -1)
    with pytest.raises(BundleUntrustedError, match=f"belongs to another user \\({OTHER_USER}\\)"):
        load_engine(open_bundle(code))
    monkeypatch.setattr(os, "geteuid", lambda: OTHER_USER)
    _assert_trusted(code)


def _assert_trusted(code: Path, options: EngineOptions = EngineOptions(device="cpu")) -> None:  # noqa: B008
    pytest.importorskip("torch")
    with pytest.raises(BundleDamagedError, match=r"0 \*\.pt2 files"):
        load_engine(open_bundle(code), options)


def test_network_for_openvino_is_data_and_may_be_written_by_others(bundle: Path) -> None:
    for place in (bundle, bundle.parent, *bundle.iterdir()):
        place.chmod(0o777)
    load_engine(open_bundle(bundle)).close()


@pytest.mark.parametrize("flags", [(), ("--trust-writable-bundles",)])
def test_server_refuses_code_that_others_may_write_with_one_line_and_code_2(code: Path, flags: tuple[str, ...]) -> None:
    code.chmod(0o777)
    refused = run_module("server", str(code), "--port", "0", "--log-format", "text", "--device", "cpu", *flags)
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1
    assert ("may be written by others" in refused.stderr) == (not flags)


def test_digest_names_the_content_and_not_its_verification(bundle: Path) -> None:
    checked = open_bundle(bundle)
    digest = checked.manifest.content_sha256()
    assert replace_manifest(checked, verification=None).manifest.content_sha256() == digest
    assert replace_manifest(checked, labels=("a", "b")).manifest.content_sha256() != digest
    (bundle / "more").touch()
    assert write_manifest(bundle, checked.manifest).content_sha256() != digest


def test_pinned_content_is_loaded_whatever_happens_to_the_files_meanwhile(bundle: Path) -> None:
    network = (bundle / "model.onnx").read_bytes()
    (bundle / "unlisted.bin").touch()
    digest = open_bundle(bundle).manifest.content_sha256()
    with opened(bundle, (digest,)) as checked:
        (bundle / "model.onnx").write_bytes(b"no network at all")
        assert checked.file(".onnx").read_bytes() == network
        listed = {file.name for file in checked.manifest.files}
        assert {path.name for path in checked.content.iterdir()} == listed
        load_engine(checked).close()
    assert not checked.content.exists()


@pytest.mark.parametrize("size", ["same", "larger"])
def test_files_that_do_not_fit_a_pinned_manifest_are_refused(bundle: Path, size: str) -> None:
    digest = open_bundle(bundle).manifest.content_sha256()
    network = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(network[::-1] if size == "same" else network * 2)
    with pytest.raises(BundleDamagedError, match=r"model\.onnx"), opened(bundle, (digest,)):
        pytest.fail("the bundle was opened")


def test_pinned_bundle_may_be_written_by_others(code: Path) -> None:
    code.chmod(0o777)
    digest = open_bundle(code).manifest.content_sha256()
    pytest.importorskip("torch")
    with opened(code, (digest,)) as checked, pytest.raises(BundleDamagedError, match=r"0 \*\.pt2 files"):
        load_engine(checked, EngineOptions(device="cpu"))


def test_refused_digest_is_told_before_any_file_is_read(bundle: Path) -> None:
    digest = manifests.decode((bundle / "engine.json").read_bytes()).content_sha256()
    (bundle / "model.onnx").unlink()
    with pytest.raises(BundleUntrustedError, match=digest), opened(bundle, ("0" * 64,)):
        pytest.fail("the bundle was opened")
