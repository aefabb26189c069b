"""Reads the names, shapes and types of the weights of a checkpoint from its files, without reading the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from engines.errors import CheckpointError, first_line
from export.architectures.checkpoint_files import read_json

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class StoredWeight:
    """``dtype`` as safetensors names it: F32, BF16, I8 and others."""

    shape: tuple[int, ...]
    dtype: str


def stored_weights(path: Path) -> dict[str, StoredWeight]:
    """The weights that transformers would read from the checkpoint in ``path``, by name.

    Raises:
        CheckpointError: there are none, a file that the index names is missing, or a file is damaged.
    """
    found: dict[str, StoredWeight] = {}
    for file in weight_files(path):
        found.update(_read_header(file))
    return found


def weight_files(path: Path) -> list[Path]:
    """The files in the order in which transformers looks for them: one file, or those that an index names.

    Raises:
        CheckpointError: there are none, or a file that the index names is missing.
    """
    if (path / _WEIGHTS).is_file():
        return [path / _WEIGHTS]
    index = read_json(path / _INDEX)
    if index is None:
        raise CheckpointError(
            f"{path} contains no weights in {_WEIGHTS} or {_INDEX}",
            help="give a complete checkpoint with weights in safetensors files, or --random-weights",
        )
    names = index.get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise CheckpointError(f"{path / _INDEX} has no weight_map", help="download the checkpoint again")
    files = [path / name for name in sorted(set(names.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise CheckpointError(
            f"{path} lacks {len(missing)} of {len(files)} files of weights, for example {missing[0]}",
            help="download or copy all files of the checkpoint, or give --random-weights",
        )
    return files


def _read_header(file: Path) -> dict[str, StoredWeight]:
    try:
        with safe_open(file, framework="numpy") as content:
            slices = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118 (it is no mapping)
            return {name: StoredWeight(tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"cannot read the weights in {file}: {first_line(error)}",
            help="the file is damaged or incomplete: download the checkpoint again",
        ) from error
