"""Chooses the network family of a checkpoint by ``model_type`` in its ``config.json``."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from engines.errors import CheckpointError
from export.architectures.base import Checkpoint
from export.architectures.checkpoint_files import CheckpointFiles, listed, locate, read_json, refuse_adapters
from export.architectures.vjepa2.checkpoint import open_vjepa2


class _Family(NamedTuple):
    """``classifier`` is the transformers class whose checkpoints ``open`` reads."""

    classifier: str
    open: Callable[[CheckpointFiles], Checkpoint]


_FAMILIES = {"vjepa2": _Family("VJEPA2ForVideoClassification", open_vjepa2)}


def find_checkpoint(model: str, *, random_weights: bool = False, ignore_unknown: bool = False) -> Checkpoint:
    """The checkpoint for ``demo``, a local directory, or a hub id, checked without reading its weights.

    Raises:
        CheckpointError: it cannot be found or downloaded, its family is not supported, or its files contain what the
            network does not compute; ``ignore_unknown`` accepts fields and weights that the model does not know.
    """
    path, revision = locate(model, random_weights=random_weights)
    refuse_adapters(path)
    config = read_json(path / "config.json")
    if config is None:
        raise CheckpointError(f"{path} has no config.json", help="give a Hugging Face checkpoint directory")
    family = _FAMILIES.get(str(config.get("model_type")))
    if family is None:
        supported = ", ".join(known.classifier for known in _FAMILIES.values())
        kind = listed([str(config.get("model_type"))])
        raise CheckpointError(f"{path} is a {kind} model", help=f"supported: {supported}")
    name = model if revision or model == "demo" else path.resolve().name
    return family.open(CheckpointFiles(name, path, revision, config, random_weights, ignore_unknown))
