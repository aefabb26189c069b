"""Selects the fastest of torch's attention kernels for a network on a device by measuring each of them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from engines.manifest import Tensor

Attention = Callable[..., torch.Tensor]

# What the kernel is called where none of those below can be used.
TORCHS_CHOICE = "torch's own choice"

_RUNS = 10
_OP = torch.ops.aten.scaled_dot_product_attention.default


def _flash(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None = None) -> torch.Tensor:
    attended: torch.Tensor = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, scale=scale)[0]
    return attended


def _cudnn(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None = None) -> torch.Tensor:
    attended: torch.Tensor = torch.ops.aten._scaled_dot_product_cudnn_attention(
        query, key, value, None, False, scale=scale
    )[0]
    return attended


def _efficient(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None = None) -> torch.Tensor:
    attended: torch.Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, None, False, scale=scale
    )[0]
    return attended


KERNELS: dict[str, Attention] = {"flash": _flash, "cudnn": _cudnn, "efficient": _efficient}


def use_fastest_attention(program: torch.fx.GraphModule, network_input: Tensor, device: torch.device) -> str:
    """Make ``program`` call the kernel that runs it on one clip fastest; returns the kernel's name.

    torch's own switches of kernels are for the whole process, so they would also change the engine that is in service
    while another one is loaded. The name of the operation in the program concerns nobody else.
    """
    fastest = fastest_attention(program, network_input, device)
    use_attention(program, fastest)
    return fastest or TORCHS_CHOICE


def fastest_attention(program: torch.fx.GraphModule, network_input: Tensor, device: torch.device) -> str | None:
    """The kernel that runs ``program`` on one clip fastest, None if none supports it; leaves any of them in it."""
    pixels = torch.zeros(1, *network_input.clip_shape, dtype=getattr(torch, network_input.dtype), device=device)
    times_ms = {}
    for name in KERNELS:
        try:
            use_attention(program, name)
            times_ms[name] = _milliseconds(lambda: program(pixels), device)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # the kernel does not support this precision, head size or device
            continue
    return min(times_ms, key=lambda name: times_ms[name], default=None)


def use_attention(program: torch.fx.GraphModule, name: str | None) -> None:
    """Make every attention of ``program`` call the kernel of this name; None leaves the choice to torch."""
    operations = {_OP, *KERNELS.values()}
    for node in program.graph.nodes:
        # Attention with a mask or dropout has more arguments, which the kernels' functions do not take.
        if node.op == "call_function" and node.target in operations and len(node.args) == 3:
            node.target = _OP if name is None else KERNELS[name]
    program.recompile()


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
