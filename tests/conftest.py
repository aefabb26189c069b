"""Fixtures for all rooms."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from engines.storage.bundle import DEMO
from tests.checkpoints import ODD, write_checkpoint
from tests.coverage_data import remove_incomplete_data
from tests.in_process import run_here
from tests.live_server import LiveServer, serving
from tests.turns import turn

if TYPE_CHECKING:
    from tests.fakes.cuda import FakeCuda

# Threads of torch that wait for each other spin by default, which takes the cores from the tests beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell's background job ignores Ctrl-C, and so would the programs that it is tested on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that measure a second attempt: other programs of the machine can spoil one measurement."""
    for item in items:
        if item.get_closest_marker("alone") is not None:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Waits for its turn before the fixtures are made and before the test's timeout counts."""
    alone = item.get_closest_marker("alone") is not None
    with turn(alone=alone), pytest.MonkeyPatch.context() as environment:
        if alone:
            # The processes of a test that measures are not traced, which would slow them down.
            environment.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Leaves pytest-cov, which combines the data of all processes after this, nothing that it cannot read."""
    try:
        return (yield)
    finally:
        if "PYTEST_XDIST_WORKER" not in os.environ:
            remove_incomplete_data(session.config.rootpath)


@pytest.fixture(scope="session")
def live_server() -> Iterator[LiveServer]:
    """The demo bundle, served for the whole session."""
    with serving(DEMO) as server:
        yield server
        assert server.stop() == 0


def written_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """What ``make`` writes, written once for all processes of a run (pytest-xdist gives each its own directory)."""
    base = factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            make(path)
    return path


@pytest.fixture(scope="session")
def odd_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that nobody prepared for: random weights, 12 frames, crop 96, 5 labels, sharded."""
    pytest.importorskip("transformers")
    return written_once(tmp_path_factory, "odd", lambda path: write_checkpoint(path, ODD))


def _exported(checkpoint: Path, factory: pytest.TempPathFactory, name: str, *flags: str) -> Path:
    """``checkpoint`` exported by the command, for batches up to 4."""

    def export(path: Path) -> None:
        exported = run_here("export", str(checkpoint), "--max-batch", "4", "--output", str(path), *flags)
        assert exported.returncode == 0, exported.stderr

    return written_once(factory, name, export)


@pytest.fixture(scope="session")
def odd_bundle(odd_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``odd_checkpoint`` for OpenVINO, in fp32."""
    pytest.importorskip("openvino")
    return _exported(odd_checkpoint, tmp_path_factory, "odd-openvino", "--target", "openvino", "--precision", "fp32")


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


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    """A fake GPU of compute capability 9.0. The test fails if anything broke a rule of CUDA or TensorRT."""
    torch = pytest.importorskip("torch")
    from tests.fakes.cuda import WORKSPACE_BYTES, FakeCuda

    # Triton knows no fake GPU.
    monkeypatch.setitem(sys.modules, "engines.preprocessing.kernel", None)
    monkeypatch.setattr("engines.preprocessing.device.WORKSPACE_BYTES", WORKSPACE_BYTES)
    fake, threads = FakeCuda().install(monkeypatch), torch.get_num_threads()
    torch.set_num_threads(1)  # tensors are tiny, and other tests run beside
    yield fake
    torch.set_num_threads(threads)
    assert fake.violations == []


@pytest.fixture
def tensorrt(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Any:
    """TensorRT on the fake GPU."""
    return _fake_tensorrt(cuda, monkeypatch, "tensorrt")


@pytest.fixture
def rtx(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Any:
    """TensorRT-RTX on the fake GPU."""
    return _fake_tensorrt(cuda, monkeypatch, "tensorrt-rtx")


def _fake_tensorrt(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch, target: str) -> Any:
    from tests.fakes.plan_bundle import VERSIONS
    from tests.fakes.tensorrt import make

    module = make(cuda, target.replace("-", "_"), VERSIONS[target])
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module
