"""Measures in which stages a network loses accuracy when it runs in a lower precision."""

from __future__ import annotations

import copy

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from engines.manifest import Precision, StageError
from export.architectures.base import StagedNetwork

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def stage_errors(network: StagedNetwork, pixels: torch.Tensor, precision: Precision) -> tuple[StageError, ...]:
    """Run ``network`` on ``pixels`` [N, ...] in FP32 and in ``precision``, and compare the outputs of each stage.

    Each stage is copied, converted, run and discarded before the next one, so memory holds one network and one stage.
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
    """Computes 16-bit matrix products in FP32 and rounds once, as tensor cores do; this is also far faster on CPUs."""

    _PRODUCTS = frozenset(
        getattr(torch.ops.aten, name).default for name in ("mm", "addmm", "bmm", "baddbmm", "convolution")
    )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func not in self._PRODUCTS:
            return func(*args, **kwargs or {})
        dtype = args[0].dtype
        widened = [value.float() if isinstance(value, torch.Tensor) else value for value in args]
        return func(*widened, **kwargs or {}).to(dtype)
