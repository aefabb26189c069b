"""Chooses the device for torch, and explains why torch cannot use a device."""

from __future__ import annotations

import logging

import torch

from engines.device.cuda_driver import CudaDevice, cuda_devices, driver_version
from engines.errors import ConfigurationError, EngineError, first_line

_log = logging.getLogger(__name__)


def torch_device(name: str | None) -> torch.device:
    """The device called ``name``, for instance ``cuda:1``; by default the first CUDA device, else the CPU.

    Raises:
        ConfigurationError: the machine has no such device.
        EngineError: torch cannot use the device, because the driver or torch has an unsuitable version.
    """
    if name is None:
        return torch.device("cuda:0" if _finds_cuda() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigurationError(f"{name!r} is no device", help="cuda:0, cuda:1, ... or cpu") from None
    if device.type == "cpu":
        return device
    found = cuda_devices()
    if device.type != "cuda" or (device.index or 0) >= len(found):
        names = ", ".join(f"cuda:{index} ({gpu.name})" for index, gpu in enumerate(found)) or "no CUDA device"
        raise ConfigurationError(f"there is no {name}: this machine has {names}", help="leave out --device")
    _check_usable(found[device.index or 0])
    return torch.device("cuda", device.index or 0)


def compute_capability(device: torch.device) -> str | None:
    """The compute capability of ``device``, for instance ``9.0``; None for the CPU."""
    if device.type != "cuda":
        return None
    major, minor = torch.cuda.get_device_capability(device)
    return f"{major}.{minor}"


def _finds_cuda() -> bool:
    found = cuda_devices()
    if not found:
        return False
    if torch.version.cuda is None:
        _log.warning("this torch was built without CUDA, running on the CPU", extra={"gpu": found[0].name})
        return False
    _check_usable(found[0])
    return True


def _check_usable(gpu: CudaDevice) -> None:
    """Raise EngineError unless torch supports the driver and the GPU."""
    if torch.version.cuda is None:
        raise EngineError(
            f"torch {torch.__version__} was built without CUDA, so it cannot use the {gpu.name} of this machine",
            help="install torch from https://pytorch.org with CUDA, or --device cpu",
        )
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        raise EngineError(
            f"torch {torch.__version__}, built for CUDA {torch.version.cuda}, cannot use the {gpu.name}, whose driver"
            f" knows CUDA up to {driver_version()}: {first_line(error)}",
            help="update the driver, or install a torch for that CUDA",
        ) from error
    built_for = torch.cuda.get_arch_list()
    if not _is_covered(gpu.compute_capability, built_for):
        raise EngineError(
            f"torch {torch.__version__} has no kernels for the {gpu.name}, of compute capability"
            f" {gpu.compute_capability}, but for {', '.join(built_for)}",
            help="install a torch release that has, or --device cpu",
        )


def _is_covered(capability: str, built_for: list[str]) -> bool:
    """Whether code built for ``built_for`` runs on ``capability``, for instance ``8.9``.

    Kernels (sm_86) run on the same major version and the same or a later minor version. PTX (compute_80) runs on the
    same and on every later compute capability.
    """
    major, minor = map(int, capability.split("."))
    for name in built_for:
        kind, _, digits = name.partition("_")
        digits = digits.rstrip("af")
        built_major, built_minor = int(digits[:-1]), int(digits[-1])
        if kind == "sm" and built_major == major and built_minor <= minor:
            return True
        if kind == "compute" and (built_major, built_minor) <= (major, minor):
            return True
    return not built_for
