"""A GPU and the libraries for it that are fakes; see ``tests/fakes``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes import tensorrt as fake_tensorrt
from tests.fakes.cuda import FakeCuda
from tests.fakes.plan_bundle import VERSIONS


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """One GPU of compute capability 9.0. The test fails if anything broke a rule of CUDA or TensorRT."""
    # Otherwise every lane takes 256 MiB of this machine's memory.
    monkeypatch.setattr("engines.device.lane.WORKSPACE_BYTES", 2**20)
    fake = FakeCuda().install(monkeypatch)
    yield fake
    assert fake.violations == []


@pytest.fixture
def tensorrt(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = fake_tensorrt.make(cuda, "tensorrt", VERSIONS["tensorrt"])
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


@pytest.fixture
def rtx(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = fake_tensorrt.make(cuda, "tensorrt_rtx", VERSIONS["tensorrt-rtx"])
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    return module
