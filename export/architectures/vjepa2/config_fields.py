"""The fields of a V-JEPA 2 ``config.json``: what each may contain for the network to be the one that is computed here.

A field that is not in these tables is refused. transformers ignores fields that it does not know, and so does the
network that is exported, so that no comparison of the two would show what is missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from transformers import VJEPA2Config
from transformers.activations import ACT2FN

from engines.errors import CheckpointError
from export.architectures.checkpoint_files import listed

CLASSIFIER = "VJEPA2ForVideoClassification"
ENCODER = "VJEPA2Model"


class _Rule(NamedTuple):
    """``accepted`` describes in words what ``accepts`` returns True for."""

    accepts: Callable[[Any], bool]
    accepted: str


def _whole(least: int, most: int) -> _Rule:
    return _Rule(lambda value: type(value) is int and least <= value <= most, f"a whole number from {least} to {most}")


def _number(above: float, most: float) -> _Rule:
    def accepts(value: Any) -> bool:
        return type(value) in (int, float) and math.isfinite(value) and above < value <= most

    return _Rule(accepts, f"a number above {above:g} and at most {most:g}")


def _one_of(*values: Any) -> _Rule:
    # Compared with their types, because 1 == True.
    known = {(type(value), value) for value in values}
    accepted = " or ".join(json.dumps(value) for value in values)
    return _Rule(lambda value: value.__hash__ is not None and (type(value), value) in known, accepted)


_ANY = _Rule(lambda value: True, "anything")
_SHARE = _Rule(lambda value: type(value) in (int, float) and 0 <= value <= 1, "a number from 0 to 1")
_EDGE, _WIDTH, _DEPTH = _whole(1, 4096), _whole(1, 65536), _whole(0, 1024)

# The fields that transformers reads.
_READ: dict[str, _Rule] = {
    "model_type": _one_of("vjepa2"),
    "problem_type": _one_of(None, "single_label_classification"),
    "patch_size": _EDGE,
    "crop_size": _EDGE,
    "frames_per_clip": _EDGE,
    "tubelet_size": _EDGE,
    "in_chans": _one_of(3),
    "hidden_size": _WIDTH,
    "num_attention_heads": _EDGE,
    "num_hidden_layers": _whole(1, 1024),
    "num_pooler_layers": _DEPTH,
    "mlp_ratio": _number(0, 1024),
    "layer_norm_eps": _number(0, 1),
    "qkv_bias": _one_of(True, False),
    "hidden_act": _Rule(lambda value: isinstance(value, str) and value in ACT2FN, f"one of {', '.join(ACT2FN)}"),
    "initializer_range": _number(-1e-9, 1024),
    # Active in training only.
    "drop_path_rate": _SHARE,
    "attention_dropout": _SHARE,
    "attention_probs_dropout_prob": _SHARE,
    # The predictor is not part of the classifier, but transformers builds it.
    "pred_hidden_size": _WIDTH,
    "pred_num_attention_heads": _EDGE,
    "pred_num_hidden_layers": _DEPTH,
    "pred_num_mask_tokens": _DEPTH,
    "pred_mlp_ratio": _number(0, 1024),
    "pred_zero_init_mask_tokens": _one_of(True, False),
    # What every configuration may contain.
    "return_dict": _one_of(True),
    "is_encoder_decoder": _one_of(False),
    "quantization_config": _one_of(None),
    **dict.fromkeys(("architectures", "id2label", "label2id", "num_labels"), _ANY),
    **dict.fromkeys(("dtype", "torch_dtype", "transformers_version", "_name_or_path", "name_or_path"), _ANY),
    **dict.fromkeys(("_commit_hash", "attn_implementation", "_attn_implementation"), _ANY),
    **dict.fromkeys(("output_hidden_states", "output_attentions", "chunk_size_feed_forward"), _ANY),
}

# The fields that transformers does not read, with the values under which they change nothing in the classifier.
# Most were fields of V-JEPA 2 when the published checkpoints were converted, so that those contain them.
_NOT_READ: dict[str, Callable[[Any, VJEPA2Config], bool]] = {
    "use_SiLU": lambda value, _: value is False,
    "use_rope": lambda value, _: value is True,
    "is_causal": lambda value, _: value is False,
    "auto_map": lambda value, _: value in (None, {}),
    "add_cross_attention": lambda value, _: value is False,
    "is_decoder": lambda value, _: value is False,
    "pruned_heads": lambda value, _: value in (None, {}),
    "image_size": lambda value, config: value in (config.crop_size, [config.crop_size] * 2),
    "img_height": lambda value, config: value == config.crop_size,
    "img_width": lambda value, config: value == config.crop_size,
    "num_frames": lambda value, config: value == config.frames_per_clip,
    # These change the initialisation or the speed, a block that use_SiLU switches on, the training, or the predictor.
    **dict.fromkeys(("uniform_power", "use_sdpa", "wide_SiLU", "hidden_dropout_prob", "model_name"), lambda *_: True),
    **dict.fromkeys(("pred_is_causal", "pred_use_mask_tokens", "use_predictor_loss"), lambda *_: True),
    **dict.fromkeys(("predictor_loss_window", "gradient_checkpointing", "use_cache"), lambda *_: True),
}
# What transformers 4 adds to every configuration that is written in full: text generation, other frameworks, notes.
_NOTES = """bad_words_ids begin_suppress_tokens bos_token_id cross_attention_hidden_size decoder_start_token_id
    diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size eos_token_id
    exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id length_penalty max_length
    min_length no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_scores pad_token_id prefix
    remove_invalid_values repetition_penalty return_dict_in_generate sep_token_id suppress_tokens task_specific_params
    temperature tf_legacy_loss tie_encoder_decoder tie_word_embeddings tokenizer_class top_k top_p torchscript typical_p
    use_bfloat16 _attn_implementation_autoset _attn_implementation_internal"""


def check_values(content: Mapping[str, Any]) -> None:
    """Raises CheckpointError for the first field that transformers reads and whose value cannot be used."""
    if content.get("quantization_config") is not None:
        raise CheckpointError(
            "the checkpoint is quantized (quantization_config in config.json)",
            help="give the checkpoint that it was made from; --precision int8 quantizes it for OpenVINO",
        )
    for name, value in content.items():
        rule = _READ.get(name, _ANY)
        if not rule.accepts(value):
            raise CheckpointError(
                f"config.json: {_pair(name, value)} cannot be used", help=f"accepted: {rule.accepted}"
            )
    _check_labels(content)


def check_architecture(content: Mapping[str, Any]) -> bool:
    """Whether the weights are those of a classifier; raises CheckpointError unless they are, or of an encoder."""
    classes = content.get("architectures")
    if classes == [ENCODER]:
        return False
    if classes not in (None, [], [CLASSIFIER]):
        raise CheckpointError(
            f"config.json: {_pair('architectures', classes)} cannot be exported",
            help=f'accepted: ["{CLASSIFIER}"], ["{ENCODER}"]',
        )
    return True


def chosen_frames(content: Mapping[str, Any], frames: int | None, *, classifies: bool) -> dict[str, Any]:
    """``content`` for clips of ``frames`` frames; None keeps those of the checkpoint.

    Raises:
        CheckpointError: a classifier was trained on another number, or the frames do not fill the encoder's tubelets.
    """
    if frames is None:
        return dict(content)
    own, tubelet = content.get("frames_per_clip"), content.get("tubelet_size", 2)
    if classifies and frames != own:
        raise CheckpointError(
            f"--frames {frames}: this classifier was trained on clips of {own} frames",
            help="leave --frames out; only a pretrained encoder takes another number of frames",
        )
    if frames % tubelet:
        raise CheckpointError(
            f"--frames {frames}: the encoder takes frames by {tubelet}", help=f"give a multiple of {tubelet}"
        )
    return {**content, "frames_per_clip": frames}


def unknown_fields(content: Mapping[str, Any], config: VJEPA2Config) -> tuple[str, ...]:
    """The fields, with their values, that transformers does not read and that may change the network."""
    return tuple(_pair(name, value) for name, value in content.items() if not _harmless(name, value, config))


def check_sizes(config: VJEPA2Config) -> None:
    """Raises CheckpointError when sizes do not fit together."""
    for prefix, part in (("", "encoder"), ("pred_", "predictor")):
        width, heads = getattr(config, f"{prefix}hidden_size"), getattr(config, f"{prefix}num_attention_heads")
        if width % heads:
            raise CheckpointError(
                f"config.json: {prefix}hidden_size {width} of the {part} cannot be divided into {heads} heads",
                help=f"correct {prefix}hidden_size or {prefix}num_attention_heads",
            )
        if int(width * getattr(config, f"{prefix}mlp_ratio")) < 1:
            raise CheckpointError(f"config.json: {prefix}mlp_ratio leaves no features", help="give a larger ratio")
    if config.crop_size < config.patch_size:
        raise CheckpointError(
            f"config.json: patch_size {config.patch_size} is larger than crop_size {config.crop_size}",
            help="a crop contains at least one patch",
        )


def _harmless(name: str, value: Any, config: VJEPA2Config) -> bool:
    if name in _READ or name in _NOTES.split():
        return True
    return name in _NOT_READ and _NOT_READ[name](value, config)


def _check_labels(content: Mapping[str, Any]) -> None:
    names = content.get("id2label")
    if names is None:
        if not _whole(1, 65536).accepts(content.get("num_labels", 2)):
            raise CheckpointError("config.json: num_labels cannot be used", help="accepted: a whole number above 0")
        return
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) and name for name in names.values()):
        raise CheckpointError(
            "config.json: id2label is not a table of labels", help='accepted: {"0": "a label", "1": "another label"}'
        )
    absent = [str(index) for index in range(len(names)) if str(index) not in names]
    if absent:
        raise CheckpointError(
            f"config.json: id2label has {len(names)} labels, but none for {listed(absent)}",
            help=f"its keys must be the outputs 0 to {len(names) - 1}",
        )
    if content.get("num_labels") not in (None, len(names)):
        raise CheckpointError(
            f"config.json: {_pair('num_labels', content['num_labels'])}, but id2label has {len(names)} labels",
            help="correct one of them",
        )


def _pair(name: str, value: Any) -> str:
    return listed([f"{name}: {json.dumps(value)}"])
