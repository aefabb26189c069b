"""Compiles a torch program to a TensorRT plan with torch-tensorrt, without ONNX, on the GPU that the plan is for."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import torch
from torch.export.passes import move_to_device_pass

from engines.manifest import Tensor
from export.settings import PlanOptions


def compile_with_torch_tensorrt(
    program: torch.export.ExportedProgram, plan: Path, network_input: Tensor, max_batch: int, options: PlanOptions
) -> None:
    """Write ``plan`` for batches of 1 to ``max_batch`` clips, in the precision of ``program``."""
    torch_tensorrt: Any = importlib.import_module("torch_tensorrt")
    convert = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine
    shapes = {
        f"{name}_shape": (batch, *network_input.clip_shape)
        for name, batch in (("min", 1), ("opt", options.opt_batch or max_batch), ("max", max_batch))
    }
    pixels = torch_tensorrt.Input(**shapes, dtype=getattr(torch, network_input.dtype), name=network_input.name)
    serialized = convert(
        move_to_device_pass(program, "cuda"),
        arg_inputs=[pixels],
        optimization_level=options.optimization_level,
        workspace_size=(options.workspace_mib or 0) << 20,
        version_compatible=options.version_compatible,
        hardware_compatible=options.hardware_compatible,
        disable_tf32=True,
        **_strongly_typed(convert),
    )
    plan.write_bytes(serialized)


def _strongly_typed(convert: Any) -> dict[str, Any]:
    """Return the option that keeps the types of the program: releases before 2.12 need it, later ones always do so."""
    if "use_explicit_typing" in inspect.signature(convert).parameters:
        return {"use_explicit_typing": True}
    return {}
