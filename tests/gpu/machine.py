"""The machine, and what its matrix products and copies reach by themselves: nothing that runs on it is faster."""

from __future__ import annotations

import datetime
import platform

import torch

from engines.device.cuda_driver import cuda_devices, driver_version
from tests.gpu.setting import Setting, say, setting
from tests.gpu.timing import timed_s

_EDGE, _SMALL_EDGE = 8192, 512
_COPY_BYTES = 256 * 2**20
_LIBRARIES = ("torch", "triton", "transformers", "tensorrt_rtx", "tensorrt", "onnx", "openvino")


def main() -> None:
    chosen = setting()
    say("date", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"))
    say("python", platform.python_version())
    for gpu in cuda_devices():
        say("gpu", f"{gpu.name}, {gpu.compute_capability}, CUDA {driver_version()}")
    for name in _LIBRARIES:
        say(name, _version(name))
    say("matrix product, TFLOP/s", f"{matrix_product_flop_per_s(chosen) / 1e12:.2f}")
    say("copy up, GB/s", f"{_copy_bytes_per_s(chosen) / 1e9:.2f}")


def matrix_product_flop_per_s(chosen: Setting) -> float:
    """Of one large product of random matrices in the network's precision."""
    edge = _SMALL_EDGE if chosen.device == "cpu" else _EDGE
    one, other = (torch.randn(edge, edge, dtype=chosen.dtype, device=chosen.device) for _ in range(2))
    return 2 * edge**3 / timed_s(lambda: one @ other, chosen)


def _copy_bytes_per_s(chosen: Setting) -> float:
    host = torch.empty(_COPY_BYTES, dtype=torch.uint8, pin_memory=chosen.device != "cpu")
    there = torch.empty(_COPY_BYTES, dtype=torch.uint8, device=chosen.device)
    return _COPY_BYTES / timed_s(lambda: there.copy_(host, non_blocking=True), chosen)


def _version(name: str) -> str:
    try:
        return str(__import__(name).__version__)
    except (ImportError, OSError) as error:
        return f"no ({type(error).__name__})"


if __name__ == "__main__":
    main()
