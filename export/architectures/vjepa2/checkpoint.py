"""A published V-JEPA 2, a classifier or a pretrained encoder: its configuration, its preprocessing and its weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import VJEPA2Config, VJEPA2ForVideoClassification, VJEPA2Model

from engines.errors import CheckpointError, first_line
from engines.manifest import FeaturePart, Preprocessing
from export.architectures.base import NetworkSizes, ReferenceProcessor
from export.architectures.checkpoint_files import CheckpointFiles, digest_of_files, listed
from export.architectures.vjepa2.config_fields import (
    CLASSIFIER,
    ENCODER,
    check_architecture,
    check_sizes,
    check_values,
    chosen_frames,
    unknown_fields,
)
from export.architectures.vjepa2.network import LeanClassifier, LeanEncoder, tubelet_features
from export.architectures.vjepa2.preprocessor import Preprocessor, read_preprocessor
from export.architectures.vjepa2.processor import reference_processor
from export.architectures.vjepa2.weights import PREDICTOR, Published, check_finite, check_weights, skeleton
from export.architectures.weight_files import stored_weights

# The checkpoint does not choose how transformers computes the reference: in FP32, with torch's attention.
_CHOSEN_HERE = ("dtype", "torch_dtype", "attn_implementation", "_attn_implementation")
_SEED = 0
# Size of the largest intermediate results of a block, in multiples of the tokens' size.
_TOKEN_WIDTHS = 16


@dataclass(frozen=True)
class VJepa2Checkpoint:
    """Implements ``export.architectures.base.Checkpoint``; ``classifies``: it is a classifier, not an encoder alone."""

    model: str
    path: Path
    revision: str | None
    config: VJEPA2Config
    preprocessor: Preprocessor
    random_weights: bool
    ignored: tuple[str, ...] = ()
    classifies: bool = True

    @property
    def preprocessing(self) -> Preprocessing:
        return self.preprocessor.preprocessing()

    @functools.cached_property
    def processor(self) -> ReferenceProcessor:
        return reference_processor(self.preprocessor)

    @property
    def labels(self) -> tuple[str, ...]:
        if not self.classifies:
            return ()
        names: Mapping[int, str] = self.config.id2label
        return tuple(names[index] for index in range(len(names)))

    @functools.cached_property
    def sha256(self) -> str:
        return digest_of_files(self.path, random_weights=self.random_weights)

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        config = self.config
        return config.frames_per_clip, config.in_chans, config.crop_size, config.crop_size

    @property
    def feature_parts(self) -> tuple[FeaturePart, ...]:
        size = self._tubelets * self.config.hidden_size
        tubelets = (FeaturePart(kind="tubelet_means", size=size), FeaturePart(kind="tubelet_maxima", size=size))
        pooled = FeaturePart(kind="pooled", size=self.config.hidden_size)
        return (*tubelets, pooled) if self.classifies else tubelets

    @property
    def _tubelets(self) -> int:
        """How many tubelets follow each other in a clip."""
        return max(1, int(self.config.frames_per_clip) // int(self.config.tubelet_size))

    def sizes(self) -> NetworkSizes:
        """The checkpoint also stores the predictor, which is not used."""
        config = self.config
        model = skeleton(config, classifies=self.classifies)
        stored = sum(parameter.numel() for parameter in model.parameters())
        predictor = sum(parameter.numel() for parameter in _encoder_of(model).predictor.parameters())
        tokens = (config.crop_size // config.patch_size) ** 2 * self._tubelets
        activation_bytes = int(tokens * config.hidden_size * _TOKEN_WIDTHS * 4)
        head_size = config.hidden_size // config.num_attention_heads
        return NetworkSizes(stored - predictor, stored, activation_bytes, head_size)

    def load(self) -> Published:
        """The model in FP32, ready for inference, with seeded random weights if ``random_weights`` is set.

        Raises:
            CheckpointError: weights are unreadable, NaN or infinite.
        """
        kind = VJEPA2ForVideoClassification if self.classifies else VJEPA2Model
        if self.random_weights:
            torch.manual_seed(_SEED)
            return kind._from_config(self.config, attn_implementation="sdpa").eval()
        try:
            model, loading = kind.from_pretrained(
                self.path,
                config=self.config,
                dtype=torch.float32,
                attn_implementation="sdpa",
                use_safetensors=True,  # the other formats of weights are pickles
                ignore_mismatched_sizes=True,  # for the predictor, whose weights are not used
                output_loading_info=True,
            )
        except Exception as error:  # transformers and safetensors raise many types of exceptions
            raise CheckpointError(
                f"cannot load the weights in {self.path}: {first_line(error)}", help="download the checkpoint again"
            ) from error
        _check_loaded(self.model, loading)
        check_finite(self.model, model)
        return model.eval()

    def answers(self, model: Published, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens: torch.Tensor = _encoder_of(model)(pixels, skip_predictor=True).last_hidden_state
        features = list(tubelet_features(tokens, self._tubelets).values())
        if not self.classifies:
            return torch.zeros(len(pixels), 0), torch.cat(features, -1)
        pooled = model.pooler(tokens)
        logits: torch.Tensor = model.classifier(pooled)
        return logits.softmax(-1), torch.cat([*features, pooled], -1)

    def network(self, model: Published, *, fused_attention: bool, stacked: bool) -> LeanEncoder:
        lean = LeanClassifier if self.classifies else LeanEncoder
        return lean(model, fused_attention=fused_attention, stacked=stacked)


def _encoder_of(model: Published) -> VJEPA2Model:
    return model if isinstance(model, VJEPA2Model) else model.vjepa2


def open_vjepa2(files: CheckpointFiles) -> VJepa2Checkpoint:
    """Open a checkpoint and check it without reading its weights; raises CheckpointError."""
    classifies = check_architecture(files.config)
    check_values(files.config)
    config = _read_config(files, classifies)
    check_sizes(config)
    fields = unknown_fields(files.config, config)
    weights = _unknown_weights(files, config, classifies)
    if not files.ignore_unknown:
        _refuse_unknown(files.model, fields, weights)
    preprocessor = read_preprocessor(files.path, config.crop_size)
    ignored = (*fields, *weights)
    return VJepa2Checkpoint(
        files.model, files.path, files.revision, config, preprocessor, files.random_weights, ignored, classifies
    )


def _unknown_weights(files: CheckpointFiles, config: VJEPA2Config, classifies: bool) -> tuple[str, ...]:
    if files.random_weights:
        return ()
    return check_weights(files.model, stored_weights(files.path), config, classifies=classifies)


def _read_config(files: CheckpointFiles, classifies: bool) -> VJEPA2Config:
    content = chosen_frames(files.config, files.frames, classifies=classifies)
    content = {name: value for name, value in content.items() if name not in _CHOSEN_HERE}
    try:
        return VJEPA2Config.from_dict(content)
    except Exception as error:  # transformers raises many types of exceptions for invalid values
        raise CheckpointError(
            f"cannot use {files.path / 'config.json'}: {first_line(error)}", help=f"supported: {CLASSIFIER}, {ENCODER}"
        ) from error


def _refuse_unknown(model: str, fields: tuple[str, ...], weights: tuple[str, ...]) -> None:
    """Raises CheckpointError when there are fields or weights that the model does not use."""
    kinds = {"fields of config.json": fields, "weights": weights}
    found = "; ".join(f"{kind}: {listed(names)}" for kind, names in kinds.items() if names)
    if found:
        raise CheckpointError(
            f"{model} contains what {CLASSIFIER} in transformers does not use; {found}",
            help="without it, answers may be wrong; if you know that it changes nothing, export with"
            " --ignore-unknown-fields, which the bundle records",
        )


def _check_loaded(model: str, loading: Mapping[str, Any]) -> None:
    """Raises CheckpointError when transformers did not find weights that the files contain."""
    left_out = [*loading["missing_keys"], *(key for key, *_ in loading.get("mismatched_keys") or ())]
    missing = sorted(name for name in left_out if not name.startswith(PREDICTOR))
    if missing:
        raise CheckpointError(
            f"transformers did not load {len(missing)} of the weights of {model}, for example {missing[0]}",
            help=f"save the checkpoint again with {CLASSIFIER}.save_pretrained",
        )
