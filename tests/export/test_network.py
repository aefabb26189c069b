"""The lean network computes the same function as the checkpoint, for any configuration."""

from __future__ import annotations

import copy
import re
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import VJEPA2Config, VJEPA2ForVideoClassification

from export.architectures.vjepa2.network import LeanClassifier, LeanEncoder
from export.network.graph import input_tensor, trace, write_onnx
from export.network.precision_probe import TensorCores

SMALL_PREDICTOR = {"pred_hidden_size": 24, "pred_num_attention_heads": 1, "pred_num_hidden_layers": 1}


def _model(**config: Any) -> VJEPA2ForVideoClassification:
    """Build a model with random weights and biases large enough to spread the logits."""
    torch.manual_seed(0)
    model = VJEPA2ForVideoClassification(VJEPA2Config(initializer_range=0.1, **SMALL_PREDICTOR, **config)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.2)
    return model


def _logits(lean: LeanClassifier, pixels: torch.Tensor) -> torch.Tensor:
    for _, stage in lean.stages():
        pixels = stage(pixels)
    return pixels


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
@given(config=configurations(), stacked=st.booleans())
def test_lean_network_equals_transformers_in_fp32(config: dict[str, Any], stacked: bool) -> None:
    model = _model(**config)
    pixels = torch.randn(2, config["frames_per_clip"], 3, config["crop_size"], config["crop_size"])
    with torch.inference_mode():
        expected = model(pixels).logits
        lean = LeanClassifier(model, stacked=stacked)
        logits, probabilities = _logits(lean, pixels), lean(pixels)[0]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(probabilities, expected.softmax(-1), atol=1e-5, rtol=0)


@settings(max_examples=30, deadline=None)
@given(config=configurations())
def test_fp16_keeps_the_probabilities_and_their_order(config: dict[str, Any]) -> None:
    model = _model(**config)
    pixels = torch.randn(2, config["frames_per_clip"], 3, config["crop_size"], config["crop_size"])
    with torch.inference_mode():
        expected = model(pixels).logits.softmax(-1)
        with TensorCores():
            probabilities = LeanClassifier(model).half()(pixels.half())[0]
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities, expected, atol=5e-3, rtol=0)
    best = probabilities.topk(min(5, config["num_labels"])).indices
    in_that_order = expected.gather(1, best)
    assert (in_that_order.diff(dim=1) <= 5e-3).all(), "labels changed places although their probabilities differ"


@settings(max_examples=15, deadline=None)
@given(config=configurations())
def test_fused_attention_keeps_the_probabilities(config: dict[str, Any]) -> None:
    model = _model(**config)
    pixels = torch.randn(2, config["frames_per_clip"], 3, config["crop_size"], config["crop_size"])
    with torch.inference_mode():
        expected = model(pixels).logits.softmax(-1)
        torch.testing.assert_close(LeanClassifier(model, fused_attention=True)(pixels)[0], expected, atol=1e-5, rtol=0)


@settings(max_examples=20, deadline=None)
@given(config=configurations(), stacked=st.booleans())
def test_features_equal_those_of_transformers_tokens_in_fp32(config: dict[str, Any], stacked: bool) -> None:
    model = _model(**config)
    pixels = torch.randn(2, config["frames_per_clip"], 3, config["crop_size"], config["crop_size"])
    depth = max(1, config["frames_per_clip"] // config["tubelet_size"])
    with torch.inference_mode():
        tokens = model.vjepa2(pixels, skip_predictor=True).last_hidden_state
        pooled = model.pooler(tokens)
        by_tubelet = tokens.view(2, depth, -1, config["hidden_size"])
        encoder = LeanEncoder(copy.deepcopy(model.vjepa2), stacked=stacked)(pixels)
        features = LeanClassifier(model, stacked=stacked)(pixels)[1]
    expected = [by_tubelet.mean(2).flatten(1), by_tubelet.max(2).values.flatten(1), pooled]
    for part, found in zip(expected, features.split([one.shape[1] for one in expected], 1), strict=True):
        assert ((found - part).norm(dim=1) <= 1e-4 * part.norm(dim=1)).all()
    (alone,) = encoder
    torch.testing.assert_close(alone, features[:, : alone.shape[1]])


def test_onnx_graph_as_deep_as_vit_l_has_at_most_1300_nodes(tmp_path: Path) -> None:
    """The count is extrapolated from a shallow network, because all layers have the same nodes."""
    model = _model(hidden_size=24, num_attention_heads=2, num_hidden_layers=3, num_pooler_layers=3, crop_size=32)
    config = model.config
    clip_shape = (config.frames_per_clip, 3, config.crop_size, config.crop_size)
    write_onnx(trace(LeanClassifier(model).half(), input_tensor(clip_shape, "fp16")), tmp_path, 20, {})
    nodes = onnx.load(tmp_path / "model.onnx").graph.node
    of_layer = Counter(found[0] for node in nodes if (found := re.match(r"blocks\.\d+", node.name)))
    assert len(of_layer) == 3
    (in_each,) = set(of_layer.values())
    assert len(nodes) + 21 * in_each <= 1300
    assert not {node.op_type for node in nodes} & {"Sin", "Cos", "Tile", "Expand", "Einsum"}
    assert sum(node.op_type == "Cast" for node in nodes) <= 3, (
        "only the outputs leave FP16: logits, the tokens that features are made of, and the pooled features"
    )


@pytest.mark.parametrize("name", ["vjepa2", "predictor"])
def test_lean_network_has_no_predictor_and_no_extra_parameters(name: str) -> None:
    model = _model(hidden_size=24, num_attention_heads=2, num_hidden_layers=2, num_pooler_layers=1, crop_size=32)
    weights = sum(parameter.numel() for parameter in model.vjepa2.encoder.parameters())
    weights += sum(parameter.numel() for parameter in model.pooler.parameters())
    weights += sum(parameter.numel() for parameter in model.classifier.parameters())
    lean = LeanClassifier(model)
    assert not [key for key in lean.state_dict() if name in key]
    assert sum(parameter.numel() for parameter in lean.parameters()) <= weights
