"""The network families that can be exported, chosen by ``model_type`` in ``config.json``."""

from __future__ import annotations

from engines.errors import CheckpointError
from export.architectures.base import Checkpoint
from export.architectures.checkpoint_files import check_weights, locate, read_json
from export.architectures.vjepa2.checkpoint import open_vjepa2

FAMILIES = {"vjepa2": open_vjepa2}


def find_checkpoint(model: str, *, random_weights: bool = False) -> Checkpoint:
    """The checkpoint for ``demo``, a local directory, or a hub id.

    Raises:
        CheckpointError: it cannot be had, or is of no family that can be exported.
    """
    path, revision = locate(model, random_weights=random_weights)
    config = read_json(path / "config.json")
    if config is None:
        raise CheckpointError(f"{path} has no config.json", help="give a Hugging Face checkpoint directory")
    open_family = FAMILIES.get(str(config.get("model_type")))
    if open_family is None:
        raise CheckpointError(
            f"{path} is a {config.get('model_type')} model", help="supported: VJEPA2ForVideoClassification"
        )
    if not random_weights:
        check_weights(path)
    name = model if revision or model == "demo" else path.resolve().name
    return open_family(name, path, revision, config, random_weights)
