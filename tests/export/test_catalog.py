"""The commands ``python -m export list``, ``show`` and ``verify``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engines.storage.bundle import open_bundle
from export.catalog import print_list
from tests.in_process import run_here
from tests.live_server import run_module


def test_list_has_a_row_for_each_bundle(odd_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(odd_bundle, tmp_path / "one")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "engine.json").write_text("{")
    print_list(tmp_path)
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "openvino fp32" in rows["one"]
    assert "1..4" in rows["one"]
    assert "unreadable" in rows["broken"]


def test_list_contains_the_demo_bundle() -> None:
    listed = run_here("export", "list")
    assert listed.returncode == 0, listed.stderr
    assert "demo" in listed.stdout


def test_show_prints_the_whole_manifest(odd_bundle: Path) -> None:
    shown = run_module("export", "show", str(odd_bundle))
    assert shown.returncode == 0, shown.stderr
    manifest = open_bundle(odd_bundle).manifest
    words = (
        manifest.content_sha256(),
        manifest.source.sha256,
        "12 frames",
        "crop 96",
        "LABEL_0",
        "probabilities within",
        "model.onnx",
        "torch",
    )
    for word in words:
        assert word in shown.stdout


@pytest.mark.parametrize("arguments", [("show",), ("verify",), ("show", "a", "b"), ("list", "more")])
def test_wrong_arguments_are_reported_in_two_lines(arguments: tuple[str, ...]) -> None:
    refused = run_here("export", *arguments)
    assert refused.returncode == 2
    error, help_line = refused.stderr.splitlines()
    assert error.startswith("ERROR ")
    assert f"export {arguments[0]} --help" in help_line


@pytest.mark.parametrize("command", ["show", "verify"])
def test_missing_bundle_error_lists_existing_bundles(command: str) -> None:
    refused = run_here("export", command, "nowhere")
    assert refused.returncode == 2
    assert "nowhere" in refused.stderr
    assert "demo" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("command", ["show", "verify"])
def test_directory_of_a_bundle_wins_over_the_same_name_in_engines_bundles(
    command: str, odd_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Path(shutil.copytree(odd_bundle, tmp_path / "demo"))
    (bundle / "model.onnx").write_bytes(b"altered")
    # The local bundle is damaged, so that verify stops before it writes its result into a bundle.
    monkeypatch.chdir(tmp_path)
    refused = run_here("export", command, "demo")
    assert refused.returncode == 2
    assert "bundle demo has a truncated model.onnx" in refused.stderr


def test_name_finds_the_bundle_in_engines_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = run_here("export", "show", "demo")
    assert shown.returncode == 0, shown.stderr
    assert "Pushing something from left to right" in shown.stdout


def test_show_refuses_altered_bundle(odd_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(odd_bundle, tmp_path / "bundle"))
    (bundle / "model.onnx").write_bytes(b"altered")
    refused = run_module("export", "show", str(bundle))
    assert refused.returncode == 2
    assert "model.onnx" in refused.stderr
