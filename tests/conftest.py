"""Fixtures for all rooms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.bundle import DEMO
from tests.checkpoints import ODD, write_checkpoint
from tests.live_server import LiveServer, run_module, serving


@pytest.fixture(scope="session")
def live_server() -> Iterator[LiveServer]:
    """The demo bundle, served for the whole session."""
    with serving(DEMO) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture(scope="session")
def odd_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that nobody prepared for: random weights, 12 frames, crop 96, 5 labels, sharded."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "odd", ODD)


@pytest.fixture(scope="session")
def odd_bundle(odd_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``odd_checkpoint`` exported by the command, in fp32, for batches up to 4."""
    output = tmp_path_factory.mktemp("bundles") / "odd"
    flags = ["--target", "openvino", "--precision", "fp32", "--max-batch", "4", "--output", str(output)]
    exported = run_module("export", str(odd_checkpoint), *flags)
    assert exported.returncode == 0, exported.stderr
    return output


@pytest.fixture(scope="session")
def odd_torch_bundle(odd_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``odd_checkpoint`` as a torch program, in fp32, for batches up to 4."""
    output = tmp_path_factory.mktemp("bundles") / "odd-torch"
    flags = ["--target", "torch", "--precision", "fp32", "--max-batch", "4", "--output", str(output)]
    exported = run_module("export", str(odd_checkpoint), *flags)
    assert exported.returncode == 0, exported.stderr
    return output


@pytest.fixture(scope="session")
def odd_rtx_bundle(odd_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``odd_checkpoint`` as an FP16 plan for RTX cards, for batches up to 4."""
    pytest.importorskip("tensorrt_rtx")
    output = tmp_path_factory.mktemp("bundles") / "odd-rtx"
    flags = ["--target", "tensorrt-rtx", "--compute-capability", "8.9", "--max-batch", "4", "--output", str(output)]
    exported = run_module("export", str(odd_checkpoint), *flags)
    assert exported.returncode == 0, exported.stderr
    return output
