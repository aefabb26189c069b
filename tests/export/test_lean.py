"""The lean network is the checkpoint's own function, whatever its configuration."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import VJEPA2Config, VJEPA2ForVideoClassification

from export.lean import LeanClassifier

SMALL_PREDICTOR = {"pred_hidden_size": 24, "pred_num_attention_heads": 1, "pred_num_hidden_layers": 1}


def _model(**config: Any) -> VJEPA2ForVideoClassification:
    """Random weights that spread the logits, biases included."""
    torch.manual_seed(0)
    model = VJEPA2ForVideoClassification(VJEPA2Config(initializer_range=0.1, **SMALL_PREDICTOR, **config)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.2)
    return model


def _logits(probabilities: torch.Tensor) -> torch.Tensor:
    logarithms = probabilities.double().log()
    return logarithms - logarithms.mean(-1, keepdim=True)


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    heads, patch = draw(st.integers(1, 4)), draw(st.sampled_from([4, 7, 8]))
    return {
        "frames_per_clip": draw(st.integers(1, 9)),
        "tubelet_size": draw(st.integers(1, 3)),
        "patch_size": patch,
        "crop_size": patch * draw(st.integers(1, 4)) + draw(st.integers(0, 1)),
        "num_attention_heads": heads,
        "hidden_size": heads * draw(st.integers(3, 33)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_pooler_layers": draw(st.integers(0, 2)),
        "mlp_ratio": draw(st.sampled_from([1.0, 2.5, 4.0])),
        "qkv_bias": draw(st.booleans()),
        "hidden_act": draw(st.sampled_from(["gelu", "gelu_new", "relu", "silu"])),
        "num_labels": draw(st.integers(2, 9)),
    }


@settings(max_examples=40, deadline=None)
@given(config=configurations())
def test_lean_equals_transformers_in_fp32(config: dict[str, Any]) -> None:
    model = _model(**config)
    pixels = torch.randn(2, config["frames_per_clip"], 3, config["crop_size"], config["crop_size"])
    with torch.inference_mode():
        expected = model(pixels).logits.double()
        probabilities = LeanClassifier(model)(pixels)
    expected = expected - expected.mean(-1, keepdim=True)
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(_logits(probabilities), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["vjepa2", "predictor"])
def test_the_predictor_and_the_old_projections_are_gone(name: str) -> None:
    model = _model(hidden_size=24, num_attention_heads=2, num_hidden_layers=2, num_pooler_layers=1, crop_size=32)
    weights = sum(parameter.numel() for parameter in model.vjepa2.encoder.parameters())
    weights += sum(parameter.numel() for parameter in model.pooler.parameters())
    weights += sum(parameter.numel() for parameter in model.classifier.parameters())
    lean = LeanClassifier(model)
    assert not [key for key in lean.state_dict() if name in key]
    assert sum(parameter.numel() for parameter in lean.parameters()) <= weights
