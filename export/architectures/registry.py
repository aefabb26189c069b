"""Chooses the network family of a checkpoint by ``model_type`` in its ``config.json``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from engines.errors import CheckpointError
from export.architectures.checkpoint_files import CheckpointFiles, listed, locate, read_json, refuse_adapters
from export.architectures.weight_files import weight_files

if TYPE_CHECKING:
    from export.architectures.base import Checkpoint


class _Family(NamedTuple):
    """``classifier`` is the transformers class whose checkpoints ``open`` reads."""

    classifier: str
    open: Callable[[CheckpointFiles], Checkpoint]


def _open_vjepa2(files: CheckpointFiles) -> Checkpoint:
    # It imports torch and transformers, which takes many seconds; a wrong path is reported before that.
    from export.architectures.vjepa2.checkpoint import open_vjepa2

    return open_vjepa2(files)


_FAMILIES = {"vjepa2": _Family("VJEPA2ForVideoClassification", _open_vjepa2)}


def find_checkpoint(
    model: str, *, random_weights: bool = False, ignore_unknown: bool = False, frames: int | None = None
) -> Checkpoint:
    """The checkpoint for ``demo``, a local directory, or a hub id, checked without reading its weights.

    Raises:
        CheckpointError: as ``find_files`` does, or its files contain what the network does not compute;
            ``ignore_unknown`` accepts fields and weights that the model does not know. It does not take clips of
            ``frames`` frames; None stands for those of the checkpoint.
    """
    files = find_files(model, random_weights=random_weights, ignore_unknown=ignore_unknown)
    files = replace(files, frames=frames)
    return _FAMILIES[files.config["model_type"]].open(files)


def find_files(model: str, *, random_weights: bool = False, ignore_unknown: bool = False) -> CheckpointFiles:
    """The files of the checkpoint, found without an import of torch.

    Raises:
        CheckpointError: it cannot be found or downloaded, its family is not supported, or files of weights are missing.
    """
    path, revision = locate(model, random_weights=random_weights)
    refuse_adapters(path)
    config = read_json(path / "config.json")
    if config is None:
        raise CheckpointError(f"{path} has no config.json", help="give a Hugging Face checkpoint directory")
    kind = str(config.get("model_type"))
    if kind not in _FAMILIES:
        supported = ", ".join(known.classifier for known in _FAMILIES.values())
        raise CheckpointError(f"{path} is a {listed([kind])} model", help=f"supported: {supported}")
    if not random_weights:
        weight_files(path)
    name = model if revision or model == "demo" else path.resolve().name
    return CheckpointFiles(name, path, revision, config, random_weights, ignore_unknown)
