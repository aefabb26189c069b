"""Which device torch is given, and what is said where it cannot have one."""

from __future__ import annotations

import pytest
import torch

from engines.device import torch_device as module
from engines.device.cuda_driver import CudaDevice, cuda_devices, device_names
from engines.device.torch_device import torch_device
from engines.errors import ConfigurationError, EngineError

no_gpu = pytest.mark.skipif(bool(cuda_devices()), reason="this machine has a GPU")


@no_gpu
def test_default_device_without_gpu_is_the_cpu() -> None:
    assert torch_device(None) == torch_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigurationError, match="this machine has no CUDA device"):
        torch_device("cuda:0")
    with pytest.raises(ConfigurationError, match="no CUDA device"):
        device_names(("cuda",))


def test_device_names_are_kept_as_given() -> None:
    assert device_names(()) == (None,)
    assert device_names(("cuda:1", "cuda:0")) == ("cuda:1", "cuda:0")


@pytest.mark.parametrize("name", ["gpu", "meta"])
def test_unknown_device_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        torch_device(name)


@no_gpu
@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has CUDA")
def test_gpu_that_torch_cannot_use_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cuda_devices", lambda: [CudaDevice("NVIDIA H200", "9.0")])
    with pytest.raises(EngineError, match=r"without CUDA.*NVIDIA H200"):
        torch_device("cuda:0")
    assert torch_device(None) == torch.device("cpu")
    with pytest.raises(ConfigurationError, match=r"cuda:0 \(NVIDIA H200\)"):
        torch_device("cuda:1")


@pytest.mark.parametrize(
    ("capability", "covered"), [("8.6", True), ("8.9", True), ("9.0", True), ("12.0", True), ("7.5", False)]
)
def test_kernels_cover_their_generation_and_ptx_later_ones(capability: str, covered: bool) -> None:
    assert module._is_covered(capability, ["sm_80", "sm_86", "sm_90a", "compute_90"]) == covered
    assert module._is_covered("12.0", ["sm_80", "sm_90"]) is False
