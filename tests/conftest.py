"""Fixtures for all rooms."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.bundle import DEMO
from tests.checkpoints import ODD, write_checkpoint
from tests.live_server import LiveServer, run_module, serving

# A shell's background job ignores Ctrl-C, and so would the programs that it is tested on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


def _exported(checkpoint: Path, factory: pytest.TempPathFactory, name: str, *flags: str) -> Path:
    """``checkpoint`` exported by the command, for batches up to 4."""
    output = factory.mktemp("bundles") / name
    exported = run_module("export", str(checkpoint), "--max-batch", "4", "--output", str(output), *flags)
    assert exported.returncode == 0, exported.stderr
    return output


@pytest.fixture(scope="session")
def odd_bundle(odd_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``odd_checkpoint`` for OpenVINO, in fp32."""
    pytest.importorskip("openvino")
    return _exported(odd_checkpoint, tmp_path_factory, "odd", "--target", "openvino", "--precision", "fp32")


@pytest.fixture(scope="session")
def odd_torch_bundle(odd_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``odd_checkpoint`` as a torch program, in fp32."""
    return _exported(odd_checkpoint, tmp_path_factory, "odd-torch", "--target", "torch", "--precision", "fp32")


@pytest.fixture(scope="session")
def odd_rtx_bundle(odd_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``odd_checkpoint`` as an FP16 plan for RTX cards."""
    pytest.importorskip("tensorrt_rtx")
    flags = ("--target", "tensorrt-rtx", "--compute-capability", "8.9")
    return _exported(odd_checkpoint, tmp_path_factory, "odd-rtx", *flags)
