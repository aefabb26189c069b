"""Measures in which stages a network loses accuracy in a lower precision, and whether its values fit into FP16."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from engines.errors import ExportError
from engines.manifest import Precision, StageError
from export.architectures.base import StagedNetwork

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Probed:
    """The errors of each stage, none for FP32, and the network's answers in FP32.

    ``probabilities``: float32 [clips, labels], without columns for an encoder; ``features``: float32 [clips, F].
    """

    errors: tuple[StageError, ...]
    probabilities: torch.Tensor
    features: torch.Tensor


def probe(network: StagedNetwork, clips: Sequence[torch.Tensor], precision: Precision) -> Probed:
    """Run ``network`` on ``clips`` [1, ...] in FP32 and in ``precision``, and compare the outputs of each stage.

    Each stage is copied, converted, run and discarded before the next one, so memory holds one network, one stage, and
    the tokens of all clips.

    Raises:
        ExportError: a value is too large for ``precision``.
    """
    exact, rounded, errors = list(clips), list(clips), []
    features: list[list[torch.Tensor]] = [[] for _ in clips]
    with torch.inference_mode():
        for name, stage in network.stages():
            peaks = [_step(stage, exact, index) for index in range(len(clips))]
            for found, output in zip(features, exact, strict=True):
                found += network.features(name, output).values()
            if precision != "fp32":
                _step_rounded(stage, rounded, DTYPES[precision])
                _check_range(name, peaks, rounded, precision)
                errors.append(_stage_error(name, exact, rounded, peaks))
        classifies = network.classifies
        probabilities = [one.float().softmax(-1) if classifies else torch.zeros(1, 0) for one in exact]
        described = [torch.cat(found, -1) for found in features]
    return Probed(tuple(errors), torch.cat(probabilities), torch.cat(described))


def _step(stage: nn.Module, exact: list[torch.Tensor], index: int) -> float:
    """Replace the input ``exact[index]`` by the output of ``stage``; returns the largest value inside the stage."""
    with Peak() as peak:
        exact[index] = stage(exact[index])
    highest: float = peak.value
    return highest


def _step_rounded(stage: nn.Module, rounded: list[torch.Tensor], dtype: torch.dtype) -> None:
    """Replace each of ``rounded`` by the output of ``stage`` in ``dtype``."""
    converted = copy.deepcopy(stage).to(dtype)
    for index, tokens in enumerate(rounded):
        with TensorCores():  # type: ignore[no-untyped-call]
            rounded[index] = converted(tokens.to(dtype))


def _check_range(name: str, peaks: list[float], rounded: list[torch.Tensor], precision: Precision) -> None:
    """Raises ExportError for the first clip with a value beyond the range of ``precision``."""
    most = torch.finfo(DTYPES[precision]).max
    for index, (peak, tokens) in enumerate(zip(peaks, rounded, strict=True)):
        if not tokens.isfinite().all() or peak > most:
            raise ExportError(
                f"{precision} overflows in {name}: on reference clip {index} a value reaches {peak:,.0f}, and the"
                f" largest number of {precision} is {most:,.0f}",
                help="export with --precision bf16, which has the range of fp32, or fp32"
                if precision == "fp16"
                else "export with --precision fp32",
            )


def _stage_error(
    name: str, exact: Sequence[torch.Tensor], rounded: Sequence[torch.Tensor], peaks: Sequence[float]
) -> StageError:
    pairs = [(one.float() - other, other) for one, other in zip(rounded, exact, strict=True)]
    return StageError(
        stage=name,
        relative_error=max(_largest_share(off.abs().max(), right.abs().max()) for off, right in pairs),
        worst_token=max(_largest_share(off.norm(dim=-1), right.norm(dim=-1)) for off, right in pairs),
        peak=max(peaks),
    )


def _largest_share(off: torch.Tensor, right: torch.Tensor) -> float:
    """The largest of ``off / right``; where ``right`` is 0, ``off`` itself, so that the result is a number."""
    return float((off / torch.where(right == 0, 1, right)).max())


class Peak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records in ``value`` the largest absolute value that any operation returns."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.value = 0.0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **kwargs or {})
        if isinstance(result, torch.Tensor) and result.is_floating_point() and not func.is_view:
            self.value = max(self.value, float(torch.linalg.vector_norm(result, float("inf"))))
        return result


class TensorCores(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Computes 16-bit matrix products in FP32 and rounds once. This is far faster on CPUs, and as exact as tensor cores
    that sum in FP32; kernels that sum in FP16 (docs/export.md) are less exact.
    """

    _PRODUCTS = frozenset(
        getattr(torch.ops.aten, name).default for name in ("mm", "addmm", "bmm", "baddbmm", "convolution")
    )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func not in self._PRODUCTS:
            return func(*args, **kwargs or {})
        dtype = args[0].dtype
        widened = [value.float() if isinstance(value, torch.Tensor) else value for value in args]
        return func(*widened, **kwargs or {}).to(dtype)
