"""TensorRT's API as the code uses it is the library's, though nothing here can run a plan.

mypy holds the code to ``typings/tensorrt_rtx`` in ``just lint``; here the installed library is held to it.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engines.device.cuda_driver import cuda_devices
from engines.errors import BundleUnsupportedError, EngineError
from engines.runtimes.default_bundle import default_bundle
from engines.runtimes.registry import load_engine
from engines.runtimes.tensorrt.api import TensorRt, load_tensorrt
from engines.runtimes.tensorrt.errors import ErrorLog, recorder_into
from engines.runtimes.tensorrt.library import Library
from engines.runtimes.tensorrt.runtime import OBJECTIONS
from engines.storage.bundle import open_bundle, replace_manifest
from tests.live_server import ROOT, run_module

# How classes made by pybind11 differ from what a stub can say.
_PYBIND = ("metaclass differs", '__init__ is inconsistent, stub does not have *args parameter "args"')
_BUFFERS = "IHostMemory.__buffer__ is not present at runtime"  # before Python 3.12


@pytest.fixture(scope="module")
def rtx() -> TensorRt:
    pytest.importorskip("tensorrt_rtx")
    return load_tensorrt("tensorrt-rtx")


def test_library_matches_the_stub(rtx: TensorRt) -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "tensorrt_rtx", "--ignore-missing-stub", "--concise"]
    environment = os.environ | {"MYPYPATH": str(ROOT / "typings")}
    compared = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    lines = compared.stdout.splitlines()
    assert any(line.endswith(_PYBIND) for line in lines), compared
    assert not [line for line in lines if not line.endswith((*_PYBIND, _BUFFERS))]


def test_library_has_every_name_of_the_protocol(rtx: TensorRt) -> None:
    names = Library.__annotations__
    assert len(names) > 15
    assert not [name for name in names if not hasattr(rtx.module, name)]


def test_invalid_plan_is_refused_with_the_librarys_reason(rtx: TensorRt) -> None:
    assert rtx.objections(b"x" * 4096) == (True, ("MALFORMED_ENGINE",))
    assert rtx.load_plan(b"x" * 4096, host_code=False) is None
    assert "Serialization" in str(rtx.errors)
    assert set(rtx.module.EngineInvalidityDiagnostics.__members__) == set(OBJECTIONS)


def test_errors_are_recorded_with_their_codes(rtx: TensorRt) -> None:
    log = ErrorLog()
    recorder = recorder_into(rtx.module, log)
    codes = rtx.module.ErrorCodeTRT
    recorder.report_error(codes.FAILED_EXECUTION, "the first\n")
    assert str(log) == "the first FAILED_EXECUTION"
    assert not log.out_of_memory
    recorder.report_error(codes.FAILED_ALLOCATION, "no room")
    assert log.out_of_memory
    assert (recorder.num_errors(), recorder.get_error_desc(1)) == (2, "no room")
    assert recorder.get_error_code(1) == codes.FAILED_ALLOCATION
    recorder.clear()
    assert (recorder.num_errors(), str(log)) == (0, "it gave no reason")


def test_missing_library_error_has_help() -> None:
    if importlib.util.find_spec("tensorrt"):
        pytest.skip("TensorRT is installed here")
    with pytest.raises(EngineError, match="tensorrt is not installed") as raised:
        load_tensorrt("tensorrt")
    assert raised.value.help


@pytest.mark.skipif(bool(cuda_devices()), reason="this machine has a GPU")
def test_plan_is_refused_without_gpu(odd_rtx_bundle: Path) -> None:
    with pytest.raises(BundleUnsupportedError, match="no CUDA device"):
        load_engine(open_bundle(odd_rtx_bundle))
    served = run_module("server", str(odd_rtx_bundle), "--port", "0", "--log-format", "text")
    assert served.returncode == 2
    assert "8.9" in served.stderr
    assert "help:" in served.stderr
    assert "Traceback" not in served.stderr


@pytest.mark.skipif(bool(cuda_devices()), reason="this machine has a GPU")
def test_plan_is_not_the_default_bundle_without_gpu(odd_rtx_bundle: Path) -> None:
    bundle = open_bundle(odd_rtx_bundle)
    replace_manifest(bundle, name="plan")
    assert default_bundle(odd_rtx_bundle.parent).path != odd_rtx_bundle
