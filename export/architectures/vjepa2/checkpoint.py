"""A published V-JEPA 2 classifier: its configuration, its preprocessing and its weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import VJEPA2Config, VJEPA2ForVideoClassification

from engines.errors import CheckpointError, first_line
from engines.manifest import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from export.architectures.base import NetworkSizes
from export.architectures.checkpoint_files import PREPROCESSOR_FILES, digest_of_files, read_json
from export.architectures.vjepa2.network import LeanClassifier

_SEED = 0
# Size of the largest intermediate results of a block, in multiples of the tokens' size.
_TOKEN_WIDTHS = 16


@dataclass(frozen=True)
class VJepa2Checkpoint:
    """Implements ``export.architectures.base.Checkpoint``."""

    model: str
    path: Path
    revision: str | None
    config: VJEPA2Config
    preprocessing: Preprocessing
    random_weights: bool

    @property
    def labels(self) -> tuple[str, ...]:
        names: Mapping[int, str] = self.config.id2label
        return tuple(names[index] for index in range(len(names)))

    @functools.cached_property
    def sha256(self) -> str:
        return digest_of_files(self.path, random_weights=self.random_weights)

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        config = self.config
        return config.frames_per_clip, config.in_chans, config.crop_size, config.crop_size

    def sizes(self) -> NetworkSizes:
        """The checkpoint also stores the predictor, which the classifier does not use."""
        config = self.config
        with torch.device("meta"):
            model = VJEPA2ForVideoClassification(config)
        stored = sum(parameter.numel() for parameter in model.parameters())
        predictor = sum(parameter.numel() for parameter in model.vjepa2.predictor.parameters())
        tokens = (config.crop_size // config.patch_size) ** 2 * max(1, config.frames_per_clip // config.tubelet_size)
        activation_bytes = int(tokens * config.hidden_size * _TOKEN_WIDTHS * 4)
        head_size = config.hidden_size // config.num_attention_heads
        return NetworkSizes(stored - predictor, stored, activation_bytes, head_size)

    def load(self) -> VJEPA2ForVideoClassification:
        """The model in FP32, ready for inference, with seeded random weights if ``random_weights`` is set.

        Raises:
            CheckpointError: weights are missing, have other shapes, or are unreadable.
        """
        if self.random_weights:
            torch.manual_seed(_SEED)
            return VJEPA2ForVideoClassification._from_config(self.config, attn_implementation="sdpa").eval()
        try:
            model, loading = VJEPA2ForVideoClassification.from_pretrained(
                self.path,
                dtype=torch.float32,
                attn_implementation="sdpa",
                ignore_mismatched_sizes=True,  # _check_complete reports them in one line
                output_loading_info=True,
            )
        except Exception as error:  # transformers and safetensors raise many types of exceptions
            raise CheckpointError(
                f"cannot load the weights in {self.path}: {first_line(error)}", help="download the checkpoint again"
            ) from error
        _check_complete(self.model, loading)
        return model.eval()

    def probabilities(self, model: VJEPA2ForVideoClassification, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(pixels).logits
        return logits.softmax(-1)

    def network(self, model: VJEPA2ForVideoClassification, *, fused_attention: bool, stacked: bool) -> LeanClassifier:
        return LeanClassifier(model, fused_attention=fused_attention, stacked=stacked)


def open_vjepa2(
    model: str, path: Path, revision: str | None, config: dict[str, Any], random_weights: bool
) -> VJepa2Checkpoint:
    """Open the checkpoint in ``path`` with the content ``config`` of its config.json; raises CheckpointError."""
    read = _read_config(path, config)
    return VJepa2Checkpoint(model, path, revision, read, _read_preprocessing(path, read), random_weights)


def _read_config(path: Path, content: dict[str, Any]) -> VJEPA2Config:
    try:
        return VJEPA2Config.from_dict(content)
    except Exception as error:  # transformers raises many types of exceptions for invalid values
        raise CheckpointError(
            f"cannot use {path / 'config.json'}: {first_line(error)}", help="supported: VJEPA2ForVideoClassification"
        ) from error


def _read_preprocessing(path: Path, config: VJEPA2Config) -> Preprocessing:
    """Read it as ``VJEPA2VideoProcessor`` does, which derives the resize from the crop and ignores ``size``."""
    candidates = (read_json(path / name) for name in PREPROCESSOR_FILES)
    content = next((found for found in candidates if found is not None), {})
    crop = _crop_pixels(content.get("crop_size", config.crop_size))
    if crop != config.crop_size:
        raise CheckpointError(
            f"{path}: the preprocessor crops to {crop} pixels, but the model takes {config.crop_size}",
            help="make crop_size the same in both files",
        )
    mean, std = content.get("image_mean", IMAGENET_MEAN), content.get("image_std", IMAGENET_STD)
    return Preprocessing(int(crop * 256 / 224), crop, tuple(mean), tuple(std))


def _crop_pixels(crop_size: Any) -> int:
    return int(crop_size["height"] if isinstance(crop_size, dict) else crop_size)


def _check_complete(model: str, loading: Mapping[str, Any]) -> None:
    """Raises CheckpointError when weights of the classifier are missing or have other shapes."""
    missing = sorted([*loading["missing_keys"], *(key for key, *_ in loading.get("mismatched_keys") or ())])
    if missing:
        raise CheckpointError(
            f"{model} lacks {len(missing)} of the classifier's weights, for example {missing[0]}",
            help="give a checkpoint of a VJEPA2ForVideoClassification (a pretrained encoder alone has no labels)",
        )
