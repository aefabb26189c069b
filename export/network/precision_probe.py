"""The network in another precision, and where it loses by that."""

from __future__ import annotations

import copy

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from engines.manifest import Precision, StageError
from export.architectures.base import StagedNetwork

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def stage_errors(network: StagedNetwork, pixels: torch.Tensor, precision: Precision) -> tuple[StageError, ...]:
    """How far ``network``, in FP32, would drift from itself stage by stage in ``precision``, for ``pixels`` [N, ...].

    A stage is converted, run and thrown away before the next: the network is never held twice.
    """
    exact = rounded = pixels
    errors = []
    with torch.inference_mode():
        for name, stage in network.stages():
            converted = copy.deepcopy(stage).to(DTYPES[precision])
            with TensorCores():  # type: ignore[no-untyped-call]
                rounded = converted(rounded.to(DTYPES[precision]))
            exact = stage(exact)
            error = (rounded.float() - exact).abs().max() / exact.abs().max()
            errors.append(StageError(stage=name, relative_error=float(error)))
    return tuple(errors)


class TensorCores(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Products of 16-bit tensors are summed in FP32 and rounded once, as tensor cores do; CPUs' own are far slower."""

    _PRODUCTS = frozenset(
        getattr(torch.ops.aten, name).default for name in ("mm", "addmm", "bmm", "baddbmm", "convolution")
    )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func not in self._PRODUCTS:
            return func(*args, **kwargs or {})
        dtype = args[0].dtype
        widened = [value.float() if isinstance(value, torch.Tensor) else value for value in args]
        return func(*widened, **kwargs or {}).to(dtype)
