"""Converts the matrix products of a network to FP8 (E4M3): half the bytes and twice the rate of FP16 on GPUs since Ada.

The products of linear layers with tokens are converted. Everything else stays in FP16: attention, norms, the first
stage, which reads pixels, and the last, which writes logits. Weights and inputs of a layer have one scale each.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import msgspec
import torch
from torch import nn

from engines.errors import ExportError
from export.architectures.base import StagedNetwork
from export.network.precision_probe import TensorCores

_FP8 = torch.float8_e4m3fn
_LARGEST = torch.finfo(_FP8).max
# GPUs multiply matrices in FP8 whose sides are multiples of this.
_MULTIPLE = 16
# Keeps the scale of a layer whose inputs are all 0 above 0, also in FP16.
_LEAST_SCALE = 2**-14


class Fp8(msgspec.Struct, frozen=True):
    """The largest absolute input of each layer, by its name, and what FP8 changed in the held-out clips."""

    largest_inputs: dict[str, float]
    calibration_clips: int
    held_out: int
    same_top1: int
    max_abs_probability_error: float

    @property
    def loss(self) -> str:
        """The change for people, which the manifest records as well."""
        kept = f"same top-1 in {self.same_top1} of {self.held_out} clips"
        return f"{kept}, probabilities within {self.max_abs_probability_error:.1e}"


def calibrate(network: StagedNetwork, learned: Sequence[torch.Tensor], held_out: Sequence[torch.Tensor]) -> Fp8:
    """Measure the inputs of the layers of ``network`` (FP32) on clips [1, ...], and the change of others' answers.

    Raises:
        ExportError: no layer has a size that GPUs multiply in FP8.
    """
    layers = dict(_layers(network))
    if not layers:
        raise ExportError(
            f"fp8: no layer of this network has sizes that are multiples of {_MULTIPLE}, as GPUs need for FP8",
            help="export with --precision fp16",
        )
    largest = _largest_inputs(network, layers, learned)
    before = _probabilities(network, held_out)
    quantized = copy.deepcopy(network).half()
    convert(quantized, largest, for_onnx=False)
    with TensorCores():  # type: ignore[no-untyped-call]
        after = _probabilities(quantized, [clip.half() for clip in held_out])
    same = int((before.argmax(-1) == after.argmax(-1)).sum())
    return Fp8(largest, len(learned), len(held_out), same, float((before - after).abs().max()))


def convert(network: StagedNetwork, largest_inputs: dict[str, float], *, for_onnx: bool) -> None:
    """Replace the layers of ``network`` (FP16) by products in FP8; with ``for_onnx`` it can only be traced."""
    for name, linear in list(_layers(network)):
        parent, _, attribute = name.rpartition(".")
        converted = (_OnnxLinear if for_onnx else _Linear)(linear, largest_inputs[name])
        setattr(network.get_submodule(parent), attribute, converted)


class _Linear(nn.Module):
    """A linear layer whose product is one operation of torch on factors in FP8; its result has the type of the input.

    CUDA devices since compute capability 8.9 and CPUs have that operation.
    """

    weight: torch.Tensor
    input_scale: torch.Tensor
    weight_scale: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, linear: nn.Linear, largest_input: float) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        # Scales are rounded to FP16 first, because plans for TensorRT hold them in that type.
        weight_scale, input_scale = _scale(float(weight.abs().max())), _scale(largest_input)
        self.register_buffer("weight", (weight / weight_scale).clamp(-_LARGEST, _LARGEST).to(_FP8))
        self.register_buffer("weight_scale", weight_scale)
        self.register_buffer("input_scale", input_scale)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        # A value beyond the range would become NaN.
        rounded = (tokens.float() / self.input_scale).clamp(-_LARGEST, _LARGEST).to(_FP8)
        product = torch._scaled_mm(
            rounded.flatten(0, -2),
            self.weight.t(),
            scale_a=self.input_scale,
            scale_b=self.weight_scale,
            bias=self.bias,
            out_dtype=tokens.dtype,
        )
        return product.view(*tokens.shape[:-1], -1)


class _OnnxLinear(_Linear):
    """The same layer as nodes of ONNX, which TensorRT fuses into one product in FP8: quantize, dequantize, multiply."""

    transposed: torch.Tensor
    zero: torch.Tensor
    input_step: torch.Tensor
    weight_step: torch.Tensor

    def __init__(self, linear: nn.Linear, largest_input: float) -> None:
        super().__init__(linear, largest_input)
        self.register_buffer("transposed", self.weight.t().contiguous())
        self.register_buffer("zero", torch.zeros((), dtype=_FP8))
        # TensorRT takes scales in the type of the other factors.
        self.register_buffer("input_step", self.input_scale.half())
        self.register_buffer("weight_step", self.weight_scale.half())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        rounded = _node("QuantizeLinear", (tokens, self.input_step, self.zero), _FP8, tokens.shape)
        inputs = _node("DequantizeLinear", (rounded, self.input_step, self.zero), tokens.dtype, tokens.shape)
        factors = (self.transposed, self.weight_step, self.zero)
        product = inputs @ _node("DequantizeLinear", factors, tokens.dtype, self.transposed.shape)
        return product if self.bias is None else product + self.bias


def _node(
    operator: str, inputs: Sequence[torch.Tensor | None], dtype: torch.dtype, shape: Sequence[int | torch.SymInt]
) -> torch.Tensor:
    """An ONNX node in the traced program; torch itself computes only its type and shape."""
    return torch.onnx.ops.symbolic(operator, inputs, dtype=dtype, shape=shape)


def _layers(network: StagedNetwork) -> Iterator[tuple[str, nn.Linear]]:
    """The layers to convert, by their names in ``network``."""
    stages = [stage for _, stage in network.stages()]
    inner = {module for stage in stages[1:-1] for module in stage.modules()}
    for name, module in network.named_modules():
        sizes = module.weight.shape if isinstance(module, nn.Linear) else (1,)
        if isinstance(module, nn.Linear) and module in inner and not any(size % _MULTIPLE for size in sizes):
            yield name, module


def _largest_inputs(
    network: StagedNetwork, layers: dict[str, nn.Linear], clips: Sequence[torch.Tensor]
) -> dict[str, float]:
    largest = dict.fromkeys(layers, 0.0)

    def watch(name: str, linear: nn.Linear) -> torch.utils.hooks.RemovableHandle:
        def note(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            largest[name] = max(largest[name], float(inputs[0].abs().max()))

        return linear.register_forward_pre_hook(note)

    hooks = [watch(name, linear) for name, linear in layers.items()]
    try:
        _probabilities(network, clips)
    finally:
        for hook in hooks:
            hook.remove()
    return largest


def _probabilities(network: StagedNetwork, clips: Sequence[torch.Tensor]) -> torch.Tensor:
    """Float32 [clips, labels]."""
    with torch.inference_mode():
        return torch.cat([network(clip)[0] for clip in clips])


def _scale(largest: float) -> torch.Tensor:
    """What 1 in FP8 stands for, so that ``largest`` is the largest number: float32 [], a number of FP16."""
    return torch.tensor(max(largest / _LARGEST, _LEAST_SCALE)).half().float()
