"""Selects the fastest of torch's attention kernels for a network on a device by measuring each of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from engines.manifest import Tensor

KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
_RUNS = 10


def use_fastest_attention(
    program: Callable[[torch.Tensor], torch.Tensor], network_input: Tensor, device: torch.device
) -> str:
    """Select, for the whole process, the kernel that runs ``program`` on one clip fastest; returns its name."""
    pixels = torch.zeros(1, *network_input.clip_shape, dtype=getattr(torch, network_input.dtype), device=device)
    times_ms = {}
    for name, kernel in KERNELS.items():
        try:
            with sdpa_kernel(kernel):
                times_ms[name] = _milliseconds(lambda: program(pixels), device)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # the kernel does not support this precision, head size or device
            continue
    if not times_ms:
        return "torch's own choice"
    fastest = min(times_ms, key=lambda name: times_ms[name])
    use_attention(fastest)
    return fastest


def use_attention(name: str) -> None:
    """Enable one fused kernel for the whole process; torch computes what it does not support without fusion."""
    torch.backends.cuda.enable_flash_sdp(name == "flash")
    torch.backends.cuda.enable_cudnn_sdp(name == "cudnn")
    torch.backends.cuda.enable_mem_efficient_sdp(name == "efficient")


def _milliseconds(run: Callable[[], object], device: torch.device) -> float:
    """The time of the shortest of several runs, in milliseconds."""
    times = []
    with torch.cuda.device(device):
        for _ in range(_RUNS):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            run()
            end.record()
            end.synchronize()
            times.append(float(begin.elapsed_time(end)))
    return min(times)
