"""The precision probe measures the error of every stage and refuses a network whose values overflow."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from engines.errors import ExportError
from engines.manifest import StageError
from export.architectures.registry import find_checkpoint
from export.architectures.vjepa2.network import LeanClassifier
from export.catalog import described_values
from export.network.precision_probe import TensorCores, probe
from export.network.references import candidate_clips, normalised
from tests.checkpoints import ODD, write_checkpoint
from tests.in_process import run_here


@pytest.fixture(scope="module")
def network() -> LeanClassifier:
    return LeanClassifier(find_checkpoint("demo").load())


@pytest.fixture(scope="module")
def pixels() -> list[torch.Tensor]:
    """Two clips, the second of which is a saturated colour."""
    preprocessing = find_checkpoint("demo").preprocessing
    kinds = candidate_clips(16)
    return [normalised(kinds[0][0], preprocessing), normalised(kinds[-1][0], preprocessing)]


def test_every_stage_is_measured_and_fp16_errors_are_small(network: LeanClassifier, pixels: list[torch.Tensor]) -> None:
    errors = probe(network, pixels, "fp16").errors
    assert [error.stage for error in errors] == [name for name, _ in network.stages()]
    assert all(0 < error.relative_error < 1e-2 for error in errors)
    assert all(error.worst_token is not None and 0 < error.worst_token < 1e-2 for error in errors)


def test_peak_is_the_largest_value_in_a_stage(network: LeanClassifier, pixels: list[torch.Tensor]) -> None:
    block, seen = network.blocks[2], []
    hook = block.mlp.fc1.register_forward_hook(lambda module, given, result: seen.append(float(result.abs().max())))
    peaks = {error.stage: error.peak for error in probe(network, pixels, "bf16").errors}
    hook.remove()
    peak = peaks["blocks.2"]
    assert peak is not None
    assert max(seen) <= peak < 65_504


def test_bf16_errors_exceed_fp16_errors(network: LeanClassifier, pixels: list[torch.Tensor]) -> None:
    half, brain = (probe(network, pixels, precision).errors[-3].relative_error for precision in ("fp16", "bf16"))
    assert brain > 3 * half


def test_worst_token_is_not_hidden_by_a_large_one(network: LeanClassifier, pixels: list[torch.Tensor]) -> None:
    """The global figure divides by the largest value of all tokens, the token's own by its norm."""
    errors = probe(network, pixels, "bf16").errors
    assert any(error.worst_token is not None and error.worst_token > 1.5 * error.relative_error for error in errors)


def _overflowing(network: LeanClassifier, pixels: list[torch.Tensor]) -> LeanClassifier:
    """``network`` with a unit of an MLP that reaches 71,213 for the second clip, and stays in FP16 for the first."""
    planted, inputs = copy.deepcopy(network), []
    layer = planted.blocks[2].mlp.fc1
    hook = layer.register_forward_hook(lambda module, given, result: inputs.append(given[0][0].clone()))
    for clip in pixels:
        planted(clip)
    hook.remove()
    direction = inputs[1].mean(0) - inputs[0].mean(0)
    first, second = (tokens @ direction for tokens in inputs)
    middle = (first.max() + first.min()) / 2
    gain = 71_213 / (second - middle).abs().max()
    assert (first - middle).abs().max() * gain < 60_000
    layer.weight[0], layer.bias[0] = direction * gain, -middle * gain
    return planted


def test_overflow_in_any_clip_names_stage_clip_and_peak(network: LeanClassifier, pixels: list[torch.Tensor]) -> None:
    with torch.no_grad():
        planted = _overflowing(network, pixels)
    with pytest.raises(
        ExportError, match=r"overflows in blocks\.2: on reference clip 1 a value reaches 71,2"
    ) as raised:
        probe(planted, pixels, "fp16")
    assert "bf16" in str(raised.value.help)
    assert probe(planted, pixels, "bf16").errors


def test_export_of_an_overflowing_checkpoint_ends_with_one_line(tmp_path: Path) -> None:
    """The MLP's hidden values exceed FP16, whose result is infinite."""
    path = write_checkpoint(tmp_path / "large", ODD, shard="1GB")
    weights = safetensors.torch.load_file(path / "model.safetensors")
    weights["vjepa2.encoder.layer.1.mlp.fc1.weight"] *= 1e6
    weights["vjepa2.encoder.layer.1.mlp.fc2.weight"] *= 1e-6
    safetensors.torch.save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    flags = ("--target", "torch", "--precision", "fp16", "--output", str(tmp_path / "bundle"))
    refused = run_here("export", str(path), *flags)
    assert refused.returncode == 1
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("export failed")]
    assert "fp16 overflows in blocks.1" in line
    assert "--precision bf16" in line
    assert not (tmp_path / "bundle").exists()


def test_values_near_the_limit_of_fp16_are_pointed_out() -> None:
    errors = [
        StageError(stage="patches", relative_error=1e-4, worst_token=2e-2, peak=9.0),
        StageError(stage="norm", relative_error=1e-4, worst_token=1e-3, peak=40_000.0),
    ]
    text = described_values(errors, "fp16")
    assert "largest 40,000 in norm (61% of FP16's range)" in text
    assert "worst token 2.0e-02 of its norm off in patches" in text
    assert "--precision bf16 is safer" in text


def test_measuring_does_not_change_the_network(network: LeanClassifier, pixels: list[torch.Tensor]) -> None:
    with torch.inference_mode():
        before = torch.cat([network(one)[0] for one in pixels])
    probed = probe(network, pixels, "fp16")
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    np.testing.assert_array_equal(probed.probabilities.numpy(), before.numpy())


def test_tensor_core_products_are_summed_in_fp32_and_rounded_once() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(7, 300).half(), torch.randn(300, 5).half()
    with TensorCores():
        product = left @ right
    torch.testing.assert_close(product, (left.float() @ right.float()).half(), rtol=0, atol=0)
