"""Finds, reads and hashes the files of a checkpoint in a directory or on the hub; the same for every family."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from commandline.suggestions import did_you_mean
from engines.errors import CheckpointError, first_line

DEMO_CHECKPOINT = Path(__file__).parents[1] / "demo" / "checkpoint"
# What the export does besides exporting a model; a model of such a name is given as ./NAME.
COMMANDS = ("list", "show", "verify", "use")
PREPROCESSOR_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")

_CONFIG_FILES = ("config.json", *PREPROCESSOR_FILES)
_WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json")


def locate(model: str, *, random_weights: bool) -> tuple[Path, str | None]:
    """Directory and revision of ``demo``, a local directory or a hub id, which is downloaded once and then cached.

    Raises:
        CheckpointError: there is no such checkpoint, or it cannot be downloaded.
    """
    if model == "demo":
        return DEMO_CHECKPOINT, None
    if Path(model).is_dir():
        return Path(model), None
    if Path(model).exists() or model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise CheckpointError(
            f"{model} is not a checkpoint directory{did_you_mean(model, _names_like(model))}",
            help="give a directory with config.json, a hub id OWNER/NAME, or demo",
        )
    path = _download(model, random_weights)
    return path, path.name


def _names_like(model: str) -> list[str]:
    """What the user may have meant: the other commands of the export, and what is beside the path ``model``."""
    directory = Path(model).parent
    beside = [str(path) for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []
    return ["demo", *COMMANDS, *beside]


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in ``path``, None when there is no such file; raises CheckpointError."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}", help="download the checkpoint again") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} contains no JSON object", help="download the checkpoint again")
    return content


def check_weights(path: Path) -> None:
    """Raises CheckpointError when ``path`` contains no weights."""
    if not any(path.glob("*.safetensors")):
        raise CheckpointError(
            f"{path} contains no *.safetensors weights", help="give a complete checkpoint, or --random-weights"
        )


def digest_of_files(path: Path, *, random_weights: bool) -> str:
    """Hex SHA-256 of the names and contents of the configuration and the weights, sorted by name."""
    files = [path / name for name in _CONFIG_FILES if (path / name).is_file()]
    if not random_weights:
        files += [file for pattern in _WEIGHT_FILES for file in path.glob(pattern)]
    digest = hashlib.sha256()
    for file in sorted(files):
        with file.open("rb") as content:
            digest.update(f"{file.name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


@functools.cache
def _download(model: str, random_weights: bool) -> Path:
    patterns = list(_CONFIG_FILES if random_weights else _CONFIG_FILES + _WEIGHT_FILES)
    try:
        return Path(snapshot_download(model, allow_patterns=patterns))
    except GatedRepoError:
        raise CheckpointError(
            f"{model} is gated", help="accept its terms on the hub, then run `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise CheckpointError(f"the hub has no model {model}", help="check its name, or run `hf auth login`") from None
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"cannot download {model}: {first_line(error)}",
            help="check the network, or give a local checkpoint directory",
        ) from None
