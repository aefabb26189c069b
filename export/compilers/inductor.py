"""A torch program compiled ahead of time by torch's Inductor: fewer, fused kernels, for this machine's device alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch._inductor import aoti_compile_and_package
from torch.export.passes import move_to_device_pass

from engines.errors import ExportError, first_line
from export.settings import Inductor

COMPILED_FILE_NAME = "compiled.pt2"
# Without Inductor's own C++ products for CPUs, which left answers of batches above two unwritten (torch 2.13).
_CONFIGS: dict[Inductor, dict[str, Any]] = {
    "default": {},
    "max-autotune": {"max_autotune": True, "max_autotune_gemm_backends": "ATEN,TRITON"},
}


def compile_with_inductor(program: Path, package: Path, device: str, how: Inductor) -> None:
    """Write ``package`` from the traced ``program``, for batches of as many clips.

    Raises:
        ExportError: Inductor, or the C++ compiler that it calls, refuses the network.
    """
    moved = move_to_device_pass(torch.export.load(program), device)
    try:
        with torch.no_grad():
            aoti_compile_and_package(moved, package_path=str(package), inductor_configs=dict(_CONFIGS[how]))
    except Exception as error:  # Inductor and the compilers below it raise many kinds; all mean the same here
        raise ExportError(
            f"Inductor cannot compile the network: {first_line(error)}",
            help="it needs a C++ compiler and, on a GPU, Triton; leave out --inductor",
        ) from error
