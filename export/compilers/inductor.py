"""Compiles a torch program ahead of time with Inductor: fewer, fused kernels that run on this device only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch._inductor import aoti_compile_and_package
from torch.export.passes import move_to_device_pass

from engines.errors import ExportError, first_line
from engines.manifest import Tensor
from engines.runtimes.torch_archive import load_program
from engines.runtimes.torch_attention import TORCHS_CHOICE, fastest_attention, use_attention
from export.settings import Inductor

COMPILED_FILE_NAME = "compiled.pt2"
# The C++ GEMM backend for CPUs is excluded: it did not write the answers beyond the second of a batch (torch 2.13).
_CONFIGS: dict[Inductor, dict[str, Any]] = {
    "default": {},
    "max-autotune": {"max_autotune": True, "max_autotune_gemm_backends": "ATEN,TRITON"},
}


def compile_with_inductor(
    program: Path, package: Path, device: str, how: Inductor, network_input: Tensor
) -> dict[str, bool | int | str]:
    """Compile the traced ``program`` into ``package``, which accepts the same batch sizes; returns options to record.

    The attention kernel of a compiled program is fixed, so for a GPU it is compiled with the fastest one.

    Raises:
        ExportError: Inductor, or the C++ compiler that it calls, cannot compile the network.
    """
    moved = move_to_device_pass(load_program(program), device)
    options: dict[str, bool | int | str] = {"inductor": how}
    if torch.device(device).type == "cuda":
        options["attention"] = _compile_fastest_attention(moved, network_input, torch.device(device))
    try:
        with torch.no_grad():
            aoti_compile_and_package(moved, package_path=str(package), inductor_configs=dict(_CONFIGS[how]))
    except Exception as error:  # Inductor and its compilers raise many types; all mean the same here
        raise ExportError(
            f"Inductor cannot compile the network: {first_line(error)}",
            help="Inductor needs a C++ compiler and, on a GPU, Triton; install them or omit --inductor",
        ) from error
    return options


def _compile_fastest_attention(
    program: torch.export.ExportedProgram, network_input: Tensor, device: torch.device
) -> str:
    """Make ``program`` call the attention kernel that is fastest on ``device``; returns the kernel's name."""
    with torch.inference_mode():
        fastest = fastest_attention(program.module(), network_input, device)
    use_attention(program.graph_module, fastest)
    return fastest or TORCHS_CHOICE
