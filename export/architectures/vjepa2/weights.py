"""Compares the weights in a checkpoint's files with those that its configuration asks for, before they are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import torch
from transformers import VJEPA2Config, VJEPA2ForVideoClassification, VJEPA2Model

from engines.errors import CheckpointError
from export.architectures.weight_files import StoredWeight

Published: TypeAlias = VJEPA2ForVideoClassification | VJEPA2Model

# Neither the classifier nor its encoder uses the predictor, so nothing is asked of its weights.
PREDICTOR = ("vjepa2.predictor.", "predictor.")
_ENCODER = "vjepa2."
_LAYERS = {"num_hidden_layers": "vjepa2.encoder.layer.", "num_pooler_layers": "pooler.self_attention_layers."}
_HEAD = ("pooler.", "classifier.")
_QKV_BIAS = re.compile(r"vjepa2\.encoder\.layer\.\d+\.attention\.(query|key|value)\.bias")
_FLOATS = ("F64", "F32", "BF16", "F16")
_OTHER_CONFIG = "give the config.json that belongs to these weights"


def skeleton(config: VJEPA2Config, *, classifies: bool = True) -> Published:
    """The model without memory for its weights."""
    with torch.device("meta"):
        return VJEPA2ForVideoClassification(config) if classifies else VJEPA2Model(config)


def check_weights(
    model: str, stored: Mapping[str, StoredWeight], config: VJEPA2Config, *, classifies: bool = True
) -> tuple[str, ...]:
    """The names of the weights in ``stored`` that the model does not take and that change nothing it takes.

    Raises:
        CheckpointError: weights contradict ``config``, are missing, or are stored as integers.
    """
    network = skeleton(config, classifies=classifies)
    # An encoder's weights are named as they are in a classifier.
    prefix = "" if classifies else _ENCODER
    expected = {f"{prefix}{name}": tuple(weight.shape) for name, weight in network.state_dict().items()}
    found = {_full_name(name, expected): weight for name, weight in stored.items()}
    found = {name: weight for name, weight in found.items() if not name.startswith(PREDICTOR)}
    expected = {name: shape for name, shape in expected.items() if not name.startswith(PREDICTOR)}
    if classifies:
        _check_head(model, found)
    _check_depth(model, found, config, _LAYERS if classifies else ("num_hidden_layers",))
    _check_biases(model, found, config)
    _check_types(model, {name: weight for name, weight in found.items() if name in expected})
    _check_shapes(model, found, expected)
    _check_complete(model, expected.keys() - found.keys())
    ignorable = network._keys_to_ignore_on_load_unexpected or ()
    unknown = (name for name in found if name not in expected)
    return tuple(name for name in unknown if not any(re.search(pattern, name) for pattern in ignorable))


def _full_name(name: str, expected: Mapping[str, object]) -> str:
    """``name`` as the classifier calls it; a pretrained encoder leaves out the first part."""
    return f"vjepa2.{name}" if name not in expected and f"vjepa2.{name}" in expected else name


def _check_head(model: str, found: Mapping[str, StoredWeight]) -> None:
    if not any(name.startswith(_HEAD) for name in found):
        raise CheckpointError(
            f"{model} has no weights of a classifier",
            help="give a checkpoint of a VJEPA2ForVideoClassification, or say in config.json that it is a pretrained"
            ' encoder: "architectures": ["VJEPA2Model"]',
        )


def _check_depth(model: str, found: Mapping[str, StoredWeight], config: VJEPA2Config, fields: Iterable[str]) -> None:
    for field in fields:
        prefix = _LAYERS[field]
        numbers = {name[len(prefix) :].partition(".")[0] for name in found if name.startswith(prefix)}
        depth = len([number for number in numbers if number.isdecimal()])
        if depth != getattr(config, field):
            raise CheckpointError(
                f"the weights of {model} contain {depth} layers {prefix}*, but config.json says"
                f" {field}: {getattr(config, field)}",
                help=f"correct {field}, or {_OTHER_CONFIG}",
            )


def _check_biases(model: str, found: Mapping[str, StoredWeight], config: VJEPA2Config) -> None:
    biases = [name for name in found if _QKV_BIAS.fullmatch(name)]
    if biases and not config.qkv_bias:
        raise CheckpointError(
            f"config.json says qkv_bias: false, but the weights of {model} contain {len(biases)} biases of queries,"
            f" keys and values, for example {biases[0]}",
            help=f"correct qkv_bias, or {_OTHER_CONFIG}",
        )


def _check_types(model: str, found: Mapping[str, StoredWeight]) -> None:
    others = [name for name, weight in found.items() if weight.dtype not in _FLOATS]
    if others:
        raise CheckpointError(
            f"{len(others)} weights of {model} are stored as {found[others[0]].dtype}, for example {others[0]}",
            help="give the checkpoint before its quantization, with weights in fp32, bf16 or fp16; --precision int8"
            " quantizes it for OpenVINO",
        )


def _check_shapes(model: str, found: Mapping[str, StoredWeight], expected: Mapping[str, tuple[int, ...]]) -> None:
    wrong = [name for name, shape in expected.items() if name in found and found[name].shape != shape]
    if not wrong:
        return
    # The classifier first, because a wrong number of labels is the most frequent reason.
    name = next((name for name in wrong if name.startswith("classifier.")), wrong[0])
    shape = found[name].shape
    labels = name.startswith("classifier.") and len(wrong) <= 2
    raise CheckpointError(
        f"{len(wrong)} weights of {model} have other shapes than config.json asks for: {name} is"
        f" {list(shape)} instead of {list(expected[name])}",
        help=f"id2label must have {shape[0]} labels, one for each output of the classifier"
        if labels
        else _OTHER_CONFIG,
    )


def _check_complete(model: str, missing: set[str]) -> None:
    if missing:
        raise CheckpointError(
            f"{model} lacks {len(missing)} of the model's weights, for example {min(missing)}",
            help="give a complete checkpoint, with all files of its weights",
        )


def check_finite(model: str, network: Published) -> None:
    """Raises CheckpointError when a weight that is used is NaN or infinite."""
    named = ((name, weight) for name, weight in network.named_parameters() if not name.startswith(PREDICTOR))
    broken = [name for name, weight in named if not torch.isfinite(weight).all()]
    if broken:
        raise CheckpointError(
            f"{len(broken)} weights of {model} contain NaN or infinite values, for example {broken[0]}",
            help="the checkpoint itself is broken: no target or precision can answer with it; save or convert it again",
        )
