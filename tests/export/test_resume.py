"""Interrupted exports resume, finished bundles are reused, and damaged bundles are built again."""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engines.errors import ExportError
from engines.storage.bundle import open_bundle
from export.failures import explained
from tests.in_process import run_here
from tests.live_server import ROOT

FLAGS = ("--target", "openvino", "--precision", "fp32")
BUILDERS_BAR = "━"

needs_rtx = pytest.mark.skipif(not importlib.util.find_spec("tensorrt_rtx"), reason="tensorrt-rtx is not installed")


def _interrupted(checkpoint: Path, output: Path, after: str) -> list[str]:
    """Send Ctrl-C as soon as the stage ``after`` has ended; returns the lines printed until then."""
    command = [sys.executable, "-m", "export", str(checkpoint), "--output", str(output), *FLAGS]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith(after):
                process.send_signal(signal.SIGINT)
    assert process.returncode == 130, "".join(lines)
    assert "Traceback" not in "".join(lines)
    return lines


class _InterruptedAfter(io.StringIO):
    """Standard error that interrupts its program, as Ctrl-C does, when the line of the stage ``after`` is there."""

    def __init__(self, after: str) -> None:
        super().__init__()
        self._after: str | None = after

    def write(self, text: str) -> int:
        count = super().write(text)
        if self._after and any(line.startswith(self._after) for line in self.getvalue().splitlines()):
            self._after = None
            signal.raise_signal(signal.SIGINT)
        return count


def _stages(lines: list[str]) -> set[str]:
    return {line[:16].strip() for line in lines}


def test_interrupted_export_resumes(odd_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundles" / "bundle"
    for after in ("find checkpoint", "load weights", "ask checkpoint", "hash bundle"):
        if after == "ask checkpoint":
            _interrupted(odd_checkpoint, output, after)
        else:
            ended = run_here(
                "export", str(odd_checkpoint), "--output", str(output), *FLAGS, errors=_InterruptedAfter(after)
            )
            assert ended.returncode == 130, ended.stderr
        assert not output.exists()
        assert not list(tmp_path.rglob("*.partial"))
        assert not list(tmp_path.rglob("*.lock"))
    finished = run_here("export", str(odd_checkpoint), "--output", str(output), *FLAGS)
    assert finished.returncode == 0, finished.stderr
    assert not {"load weights", "ask checkpoint", "trace", "write ONNX"} & _stages(finished.stderr.splitlines())
    assert open_bundle(output).manifest.verification is not None
    assert [path.name for path in output.parent.iterdir()] == ["bundle"]


@needs_rtx
def test_ctrl_c_stops_the_tensorrt_builder(odd_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    command = [sys.executable, "-m", "export", str(odd_checkpoint), "--output", str(output), "--no-verify"]
    command += ["--target", "tensorrt-rtx", "--precision", "fp16", "--compute-capability", "12.0"]
    terminal, end = pty.openpty()
    with subprocess.Popen(command, stdin=end, stdout=end, stderr=end, cwd=ROOT) as process:
        os.close(end)
        shown = _read_until(terminal, BUILDERS_BAR)
        process.send_signal(signal.SIGINT)
        shown += _read_until(terminal, None)
    os.close(terminal)
    assert process.returncode == 130, shown
    assert "write ONNX" in shown
    assert "hash bundle" not in shown
    assert "Traceback" not in shown
    assert not output.exists()
    assert not list(tmp_path.rglob("*.plan"))


def _read_until(terminal: int, text: str | None) -> str:
    """Read from ``terminal`` until ``text`` appears or the program has ended."""
    shown = ""
    while text is None or text not in shown:
        try:
            shown += os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # Linux reports EIO when the other end is closed
            break
    return shown


def test_finished_bundle_is_reused_unless_it_is_damaged(odd_bundle: Path, odd_checkpoint: Path, tmp_path: Path) -> None:
    output = Path(shutil.copytree(odd_bundle, tmp_path / "bundle"))
    flags = (*FLAGS, "--max-batch", "4", "--output", str(output))
    built_at = open_bundle(output).manifest.built_at
    again = run_here("export", str(odd_checkpoint), *flags)
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stdout
    assert "load weights" not in again.stderr
    (output / "model.onnx").write_bytes(b"altered")
    mended = run_here("export", str(odd_checkpoint), *flags)
    assert "nothing to do" not in mended.stdout
    assert open_bundle(output).manifest.built_at > built_at


@pytest.mark.parametrize("flags", [("--force",), ("--max-batch", "2")])
def test_force_or_other_options_build_the_bundle_again(
    odd_bundle: Path, odd_checkpoint: Path, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    output = Path(shutil.copytree(odd_bundle, tmp_path / "bundle"))
    built = run_here("export", str(odd_checkpoint), *FLAGS, "--max-batch", "4", "--output", str(output), *flags)
    assert built.returncode == 0, built.stderr
    assert "write ONNX" in _stages(built.stderr.splitlines())
    assert "nothing to do" not in built.stdout


def test_model_that_exceeds_memory_is_refused_before_loading(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    config = {"model_type": "vjepa2", "hidden_size": 65536, "num_attention_heads": 64, "num_hidden_layers": 80}
    (model / "config.json").write_text(json.dumps(config))
    refused = run_here("export", str(model), "--random-weights", "--output", str(tmp_path / "bundle"), *FLAGS)
    assert refused.returncode == 1
    assert "of memory" in refused.stderr
    assert "help:" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "bundle").exists()


def test_plan_and_memory_estimate_are_printed_before_the_work(odd_checkpoint: Path, tmp_path: Path) -> None:
    shown = run_here("export", str(odd_checkpoint), "--output", str(tmp_path / "bundle"), *FLAGS, "--no-verify")
    lines = shown.stderr.splitlines()
    stages = [line[:16].strip() for line in lines]
    assert stages.index("needs about") < stages.index("load weights")
    assert next(line for line in lines if line.startswith("engine")).endswith(
        "openvino fp32, batch 1 to 1, through ONNX"
    )
    assert "GB of memory" in lines[-1]


def test_full_disk_error_has_a_help_text() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(ExportError, match="disk is full") as raised, explained():
        full.write_bytes(b"x")
    assert raised.value.help
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == errno.ENOSPC


def test_out_of_memory_error_has_a_help_text() -> None:
    import torch

    with pytest.raises(ExportError, match="out of memory") as raised, explained():
        torch.empty(2**60)
    assert raised.value.help
