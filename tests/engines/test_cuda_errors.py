"""Errors of CUDA, by their numbers: a batch that failed, a device that is lost, a machine that is not fit."""

from __future__ import annotations

import pytest
import torch

from engines.device.cuda_errors import LOST, explained, explained_page_locking
from engines.errors import EngineError, EngineLostError

DEVICE = torch.device("cuda:1")


def _error(code: int | None, text: str = "CUDA error: something\nCompile with TORCH_USE_CUDA_DSA") -> RuntimeError:
    error = torch.AcceleratorError(text)
    if code is not None:
        error.error_code = code
    return error


def _explained(error: Exception) -> EngineError:
    with pytest.raises(EngineError) as raised, explained(DEVICE):
        raise error
    assert "cuda:1" in raised.value.message
    assert "\n" not in raised.value.message
    return raised.value


@pytest.mark.parametrize("code", LOST)
def test_sticky_cuda_error_raises_engine_lost(code: int) -> None:
    found = _explained(_error(code))
    assert isinstance(found, EngineLostError)
    assert LOST[code] in found.message


def test_sticky_error_without_code_is_recognised_by_its_text() -> None:
    assert isinstance(_explained(RuntimeError("CUDA error: an illegal memory access was encountered")), EngineLostError)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried"), _error(2)])
def test_out_of_memory_fails_the_batch_with_help(error: RuntimeError) -> None:
    found = _explained(error)
    assert not isinstance(found, EngineLostError)
    assert "out of memory" in found.message
    assert "--max-batch" in str(found.help)


@pytest.mark.parametrize(
    ("code", "words"),
    [(35, "driver is older"), (209, "compute capability"), (222, "newer CUDA"), (803, "different releases")],
)
def test_unfit_machine_is_not_a_lost_device(code: int, words: str) -> None:
    found = _explained(_error(code))
    assert not isinstance(found, EngineLostError)
    assert words in found.message
    assert found.help


def test_other_errors_fail_the_batch() -> None:
    found = _explained(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not isinstance(found, EngineLostError)
    assert "shapes" in found.message


def test_engine_errors_pass_unchanged() -> None:
    with pytest.raises(EngineLostError, match="own words"), explained(DEVICE):
        raise EngineLostError("own words")


def test_page_locking_failure_is_reported_as_host_memory() -> None:
    with pytest.raises(EngineError, match="512 MiB of the host's memory") as raised, explained_page_locking(512 << 20):
        raise _error(2, "CUDA error: out of memory")
    assert "--max-inflight-mb" in str(raised.value.help)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_torch_reports_error_codes() -> None:
    with pytest.raises(EngineError, match="out of memory"), explained(torch.device("cuda:0")):
        torch.empty(2**50, dtype=torch.uint8, device="cuda:0")
