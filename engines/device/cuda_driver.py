"""Lists the CUDA devices of this machine through the driver library, without the CUDA toolkit and without torch."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from engines.errors import ConfigurationError

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76


# The first compute capability with matrix products in FP8.
FP8_SINCE = "8.9"


@dataclass(frozen=True)
class CudaDevice:
    """The name and the compute capability (for instance ``9.0``) of one device."""

    name: str
    compute_capability: str


def cuda_devices() -> list[CudaDevice]:
    """The devices in the driver's order; the list is empty without a driver or a device."""
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError:
        return []
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    return [_described(driver, ordinal) for ordinal in range(count.value)]


def has_fp8(capability: str) -> bool:
    """Whether GPUs of this compute capability, for instance ``9.0``, multiply matrices in FP8."""
    major, minor = map(int, capability.split("."))
    least_major, least_minor = map(int, FP8_SINCE.split("."))
    return (major, minor) >= (least_major, least_minor)


def driver_version() -> str | None:
    """The newest CUDA version that the driver supports, for instance ``13.0``; None without a driver."""
    version = ctypes.c_int()
    try:
        driver = ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    if driver.cuDriverGetVersion(ctypes.byref(version)):
        return None
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def device_names(asked: Sequence[str]) -> tuple[str | None, ...]:
    """The devices to open engines on; ``cuda`` alone means every CUDA device, None means the runtime's default.

    Raises:
        ConfigurationError: ``cuda`` was requested, and the machine has no CUDA device.
    """
    if tuple(asked) != ("cuda",):
        return tuple(asked) or (None,)
    names = tuple(f"cuda:{index}" for index in range(len(cuda_devices())))
    if not names:
        raise ConfigurationError("this machine has no CUDA device", help="leave out --device, or --device cpu")
    return names


def _described(driver: ctypes.CDLL, ordinal: int) -> CudaDevice:
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(device), ordinal)
    driver.cuDeviceGetName(name, len(name), device)
    major, minor = (
        _attribute(driver, device, which) for which in (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR)
    )
    return CudaDevice(name.value.decode(), f"{major}.{minor}")


def _attribute(driver: ctypes.CDLL, device: ctypes.c_int, which: int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    return value.value
