"""A V-JEPA 2 classifier as published: where it is, what it expects, its weights."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from transformers import VJEPA2Config, VJEPA2ForVideoClassification

from engines.errors import CheckpointError, first_line
from engines.manifest import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

DEMO_CHECKPOINT = Path(__file__).parents[2] / "demo" / "checkpoint"

_CONFIG_FILES = ("config.json", "video_preprocessor_config.json", "preprocessor_config.json")
_WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json")
_SEED = 0


@dataclass(frozen=True)
class Checkpoint:
    """``model`` is the hub id or the directory's name; ``revision`` the hub's commit, None for a directory."""

    model: str
    path: Path
    revision: str | None
    config: VJEPA2Config
    preprocessing: Preprocessing
    random_weights: bool

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the classifier's outputs."""
        names: Mapping[int, str] = self.config.id2label
        return tuple(names[index] for index in range(len(names)))

    @functools.cached_property
    def sha256(self) -> str:
        """Over config, preprocessor config and weights: name and content of each file in order of name."""
        digest = hashlib.sha256()
        for file in sorted(self._files()):
            with file.open("rb") as content:
                digest.update(f"{file.name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
        return digest.hexdigest()

    def load(self) -> VJEPA2ForVideoClassification:
        """The model in FP32, ready for inference; seeded random weights if that was asked for.

        Raises:
            CheckpointError: weights are missing, of other shapes, or unreadable.
        """
        if self.random_weights:
            torch.manual_seed(_SEED)
            return VJEPA2ForVideoClassification._from_config(self.config, attn_implementation="sdpa").eval()
        try:
            model, loading = VJEPA2ForVideoClassification.from_pretrained(
                self.path,
                dtype=torch.float32,
                attn_implementation="sdpa",
                ignore_mismatched_sizes=True,  # _check_complete tells them more plainly
                output_loading_info=True,
            )
        except Exception as error:  # transformers and safetensors raise many kinds; all mean the same here
            raise CheckpointError(
                f"cannot load the weights in {self.path}: {first_line(error)}", help="download the checkpoint again"
            ) from error
        _check_complete(self.model, loading)
        return model.eval()

    def _files(self) -> Iterator[Path]:
        yield from (self.path / name for name in _CONFIG_FILES if (self.path / name).is_file())
        if not self.random_weights:
            for pattern in _WEIGHT_FILES:
                yield from self.path.glob(pattern)


def find_checkpoint(model: str, *, random_weights: bool = False) -> Checkpoint:
    """The checkpoint for ``demo``, a local directory, or a hub id (downloaded once, then cached).

    Raises:
        CheckpointError: it cannot be had, or is not a V-JEPA 2 video classifier.
    """
    path, revision = _locate(model, random_weights)
    config = _read_config(path)
    if not random_weights and not any(path.glob("*.safetensors")):
        raise CheckpointError(
            f"{path} holds no *.safetensors weights", help="give a complete checkpoint, or --random-weights"
        )
    name = model if revision or model == "demo" else path.resolve().name
    return Checkpoint(name, path, revision, config, _read_preprocessing(path, config), random_weights)


def _locate(model: str, random_weights: bool) -> tuple[Path, str | None]:
    if model == "demo":
        return DEMO_CHECKPOINT, None
    if Path(model).is_dir():
        return Path(model), None
    if Path(model).exists() or model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise CheckpointError(
            f"{model} is no checkpoint directory",
            help="give a directory with config.json, a hub id OWNER/NAME, or demo",
        )
    path = _download(model, random_weights)
    return path, path.name


def _download(model: str, random_weights: bool) -> Path:
    patterns = list(_CONFIG_FILES if random_weights else _CONFIG_FILES + _WEIGHT_FILES)
    try:
        return Path(snapshot_download(model, allow_patterns=patterns))
    except GatedRepoError:
        raise CheckpointError(f"{model} is gated", help="accept its terms on the hub, then `hf auth login`") from None
    except RepositoryNotFoundError:
        raise CheckpointError(f"the hub has no model {model}", help="check its name, or `hf auth login`") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"cannot download {model}: {first_line(error)}",
            help="check the network, or give a local checkpoint directory",
        ) from None


def _read_config(path: Path) -> VJEPA2Config:
    content = _read_json(path / "config.json")
    if content is None:
        raise CheckpointError(f"{path} has no config.json", help="give a Hugging Face checkpoint directory")
    if content.get("model_type") != "vjepa2":
        raise CheckpointError(
            f"{path} is a {content.get('model_type')} model", help="supported: VJEPA2ForVideoClassification"
        )
    try:
        return VJEPA2Config.from_dict(content)
    except Exception as error:  # a config of the right type whose values transformers refuses
        raise CheckpointError(
            f"cannot use {path / 'config.json'}: {first_line(error)}", help="supported: VJEPA2ForVideoClassification"
        ) from error


def _read_preprocessing(path: Path, config: VJEPA2Config) -> Preprocessing:
    """As ``VJEPA2VideoProcessor`` reads it: the resize always follows from the crop, whatever ``size`` says."""
    candidates = (_read_json(path / name) for name in _CONFIG_FILES[1:])
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


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}", help="download the checkpoint again") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object", help="download the checkpoint again")
    return content


def _check_complete(model: str, loading: Mapping[str, Any]) -> None:
    missing = sorted([*loading["missing_keys"], *(key for key, *_ in loading.get("mismatched_keys") or ())])
    if missing:
        raise CheckpointError(
            f"{model} lacks {len(missing)} of the classifier's weights, {missing[0]} for one",
            help="give a checkpoint of a VJEPA2ForVideoClassification (a pretrained encoder alone has no labels)",
        )
