"""Finds, reads and hashes the files of a checkpoint in a directory or on the hub; the same for every family."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from commandline.suggestions import did_you_mean
from engines.errors import CheckpointError, first_line

DEMO_CHECKPOINT = Path(__file__).parents[1] / "demo" / "checkpoint"
# What the export does besides exporting a model; a model of such a name is given as ./NAME.
COMMANDS = ("list", "show", "verify", "use")

_ADAPTER_FILE = "adapter_config.json"
# In the order in which transformers 5 reads them; the first one may contain the preprocessor as one of its fields.
_PROCESSOR_FILE, _PROCESSOR_FIELD = "processor_config.json", "video_processor"
_PREPROCESSOR_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")
_CONFIG_FILES = ("config.json", _PROCESSOR_FILE, *_PREPROCESSOR_FILES)
_WEIGHT_FILES = ("*.safetensors", "*.safetensors.index.json")
_MOST_LISTED = 4
_MOST_CHARACTERS = 80


@dataclass(frozen=True)
class CheckpointFiles:
    """A checkpoint that was found: its name, its directory, its hub revision and the content of its config.json.

    ``ignore_unknown``: fields and weights that the model does not know are recorded instead of refused. ``frames``: the
    frames of a clip, if they are not to be those of the checkpoint.
    """

    model: str
    path: Path
    revision: str | None
    config: dict[str, Any]
    random_weights: bool = False
    ignore_unknown: bool = False
    frames: int | None = None


def listed(names: Iterable[str]) -> str:
    """The first of ``names``, which a checkpoint contains, cut and escaped so that a message can show them."""
    known = list(names)
    cut = [name if len(name) <= _MOST_CHARACTERS else f"{name[:_MOST_CHARACTERS]}..." for name in known[:_MOST_LISTED]]
    shown = ", ".join(name if name.isprintable() else repr(name)[1:-1] for name in cut)
    return shown if len(known) <= _MOST_LISTED else f"{shown} and {len(known) - _MOST_LISTED} more"


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


def find_preprocessor(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """The file in ``path`` that describes the preprocessing, and its fields; None when there is no such file.

    Raises:
        CheckpointError: a file is unreadable.
    """
    nested = (read_json(path / _PROCESSOR_FILE) or {}).get(_PROCESSOR_FIELD)
    if nested is not None:
        if not isinstance(nested, dict):
            raise CheckpointError(
                f"{path / _PROCESSOR_FILE}: {_PROCESSOR_FIELD} is {json.dumps(nested)[:80]}",
                help="accepted: an object with the fields of a video processor",
            )
        return path / _PROCESSOR_FILE, nested
    for name in _PREPROCESSOR_FILES:
        content = read_json(path / name)
        if content is not None:
            return path / name, content
    return None


def refuse_adapters(path: Path) -> None:
    """Raises CheckpointError when ``path`` contains an adapter, whose weights belong to those of another checkpoint."""
    adapter = read_json(path / _ADAPTER_FILE)
    if adapter is not None:
        base = listed([str(adapter.get("base_model_name_or_path") or "another checkpoint")])
        raise CheckpointError(
            f"{path} is a PEFT adapter for {base} ({_ADAPTER_FILE})",
            help="merge it into its base model (merge_and_unload, then save_pretrained) and export the result",
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
    patterns = [_ADAPTER_FILE, *_CONFIG_FILES, *(() if random_weights else _WEIGHT_FILES)]
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
