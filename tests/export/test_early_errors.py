"""Wrong arguments of an export are reported before torch is imported, and missing packages without a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live_server import ROOT

pytest.importorskip("huggingface_hub")

# Runs the program as `python -m export` does and tells at its end whether torch was imported.
_PROGRAM = """
import runpy, sys
for name in {unavailable!r}:
    sys.modules[name] = None  # makes every import of it fail as if it were not installed
try:
    runpy.run_module("export", run_name="__main__", alter_sys=True)
finally:
    print("torch" in sys.modules and sys.modules["torch"] is not None, "transformers" in sys.modules)
"""


def _export(*arguments: str, unavailable: tuple[str, ...] = (), **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _PROGRAM.format(unavailable=unavailable), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | more, timeout=120, check=False
    )


def _assert_refused_early(ended: subprocess.CompletedProcess[str], code: int, words: str) -> None:
    assert ended.returncode == code, ended.stderr
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout.splitlines()[-1] == "False False"


def test_a_mistyped_path_is_reported_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    ended = _export(f"{tmp_path}/chekpoint")
    _assert_refused_early(ended, 2, f"is not a checkpoint directory; did you mean {tmp_path}/checkpoint?")


def test_a_mistyped_command_is_reported_before_torch_is_imported() -> None:
    _assert_refused_early(_export("lsit"), 2, "lsit is not a checkpoint directory; did you mean list?")


def test_an_unreachable_hub_is_reported_before_torch_is_imported(tmp_path: Path) -> None:
    ended = _export("someone/model", HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path))
    _assert_refused_early(ended, 2, "cannot download someone/model")


def test_an_incomplete_checkpoint_is_reported_before_torch_is_imported(tmp_path: Path) -> None:
    _assert_refused_early(_export(str(tmp_path)), 2, "has no config.json")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vjepa2"}))
    _assert_refused_early(_export(str(tmp_path)), 2, "contains no weights in model.safetensors")


def test_an_output_that_is_no_bundle_is_reported_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    _assert_refused_early(_export("demo", "--output", str(tmp_path)), 1, "exists and is not a bundle")


def test_missing_calibration_videos_are_reported_before_torch_is_imported(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    flags = ("--target", "openvino", "--precision", "int8", "--calibration", str(tmp_path / "missing"))
    _assert_refused_early(_export("demo", *flags), 1, "missing")


EXTRA = ("torch", "transformers", "onnx", "rich", "huggingface_hub", "filelock", "safetensors", "onnxscript", "nncf")


@pytest.mark.parametrize("arguments", [("list",), ("show", "demo"), ("demo",)], ids=" ".join)
def test_an_installation_without_the_extra_says_how_to_get_it(arguments: tuple[str, ...]) -> None:
    ended = _export(*arguments, unavailable=EXTRA)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "is not installed, which the export needs; help: " in line
    assert "-m pip install" in line
    assert "[export]" in line


@pytest.mark.parametrize("arguments", [("--help",), ("use", "--help"), ("demo", "--targt", "torch")], ids=" ".join)
def test_help_and_errors_of_flags_need_no_extra(arguments: tuple[str, ...]) -> None:
    ended = _export(*arguments, unavailable=EXTRA)
    assert "is not installed" not in ended.stderr
    assert ended.returncode == (0 if "--help" in arguments else 2)
