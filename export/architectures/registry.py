"""Chooses the network family of a checkpoint by ``model_type`` in its ``config.json``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from engines.errors import CheckpointError
from export.architectures.checkpoint_files import check_weights, locate, read_json

if TYPE_CHECKING:
    from export.architectures.base import Checkpoint


class _Family(NamedTuple):
    """``classifier`` is the transformers class whose checkpoints ``open`` reads."""

    classifier: str
    open: Callable[[str, Path, str | None, dict[str, Any], bool], Checkpoint]


def _open_vjepa2(
    model: str, path: Path, revision: str | None, config: dict[str, Any], random_weights: bool
) -> Checkpoint:
    # It imports torch and transformers, which takes many seconds; a wrong path is reported before that.
    from export.architectures.vjepa2.checkpoint import open_vjepa2

    return open_vjepa2(model, path, revision, config, random_weights)


_FAMILIES = {"vjepa2": _Family("VJEPA2ForVideoClassification", _open_vjepa2)}


class CheckpointFiles(NamedTuple):
    """A checkpoint that was found and has the files it needs; ``config`` is the content of its config.json."""

    model: str
    path: Path
    revision: str | None
    config: dict[str, Any]
    family: _Family


def find_checkpoint(model: str, *, random_weights: bool = False) -> Checkpoint:
    """The checkpoint for ``demo``, a local directory, or a hub id; raises CheckpointError as ``find_files`` does."""
    found = find_files(model, random_weights=random_weights)
    return found.family.open(found.model, found.path, found.revision, found.config, random_weights)


def find_files(model: str, *, random_weights: bool = False) -> CheckpointFiles:
    """The files of the checkpoint, found without an import of torch.

    Raises:
        CheckpointError: it cannot be found or downloaded, or its family is not supported.
    """
    path, revision = locate(model, random_weights=random_weights)
    config = read_json(path / "config.json")
    if config is None:
        raise CheckpointError(f"{path} has no config.json", help="give a Hugging Face checkpoint directory")
    family = _FAMILIES.get(str(config.get("model_type")))
    if family is None:
        supported = ", ".join(known.classifier for known in _FAMILIES.values())
        raise CheckpointError(f"{path} is a {config.get('model_type')} model", help=f"supported: {supported}")
    if not random_weights:
        check_weights(path)
    name = model if revision or model == "demo" else path.resolve().name
    return CheckpointFiles(name, path, revision, config, family)
