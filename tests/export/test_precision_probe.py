"""The precision probe measures the error of every stage and finds a stage that overflows."""

from __future__ import annotations

import copy

import pytest
import torch

from export.architectures.registry import find_checkpoint
from export.architectures.vjepa2.network import LeanClassifier
from export.network.precision_probe import TensorCores, stage_errors
from export.network.references import normalised, reference_clips


@pytest.fixture(scope="module")
def network() -> LeanClassifier:
    return LeanClassifier(find_checkpoint("demo").load())


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return normalised(reference_clips(16)[0], find_checkpoint("demo").preprocessing)


def test_every_stage_is_measured_and_fp16_errors_are_small(network: LeanClassifier, pixels: torch.Tensor) -> None:
    errors = stage_errors(network, pixels, "fp16")
    assert [error.stage for error in errors] == [name for name, _ in network.stages()]
    assert all(0 < error.relative_error < 1e-2 for error in errors)


def test_bf16_errors_exceed_fp16_errors(network: LeanClassifier, pixels: torch.Tensor) -> None:
    half, brain = (stage_errors(network, pixels, precision)[-3].relative_error for precision in ("fp16", "bf16"))
    assert brain > 3 * half


def test_first_wrong_stage_is_the_one_that_overflows(network: LeanClassifier, pixels: torch.Tensor) -> None:
    planted = copy.deepcopy(network)
    block = planted.blocks[2]
    with torch.no_grad():
        block.mlp.fc1.weight.mul_(1e4)
        block.mlp.fc2.weight.mul_(1e4)
    errors = {error.stage: error.relative_error for error in stage_errors(planted, pixels, "fp16")}
    assert errors["blocks.1"] < 1e-2
    assert not errors["blocks.2"] < 1e-2


def test_measuring_does_not_change_the_network(network: LeanClassifier, pixels: torch.Tensor) -> None:
    before = network(pixels)
    stage_errors(network, pixels, "fp16")
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    torch.testing.assert_close(network(pixels), before, rtol=0, atol=0)


def test_tensor_core_products_are_summed_in_fp32_and_rounded_once() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(7, 300).half(), torch.randn(300, 5).half()
    with TensorCores():
        product = left @ right
    torch.testing.assert_close(product, (left.float() @ right.float()).half(), rtol=0, atol=0)
