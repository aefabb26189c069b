"""Writes heads to disk, and checks them before they are used."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import msgspec
import numpy as np

from engines.errors import HeadError
from engines.linear_heads.head import Head, Weights
from engines.linear_heads.manifest import (
    ALL,
    FILE_NAME,
    FORMAT_VERSION,
    MOST_LABELS,
    UNKNOWN,
    WEIGHTS_FILE_NAME,
    HeadManifest,
)
from engines.storage.staging import staged

HEADS = Path(__file__).parents[1] / "heads"
_ARRAYS = {"weight": 2, "bias": 1, "subspace": 2, "origin": 1, "taught": 2}
_MOST_MANIFEST_BYTES = 64 * 2**20
_MOST_WEIGHTS_BYTES = 512 * 2**20


def heads_in(directory: Path) -> list[Path]:
    """The directories in ``directory`` that hold a head, sorted by name; unfinished ones are hidden."""
    return sorted(file.parent for file in directory.glob(f"[!.]*/{FILE_NAME}"))


def find_head(name: str, heads: Path = HEADS) -> Path:
    """The path of the head in the directory ``name``, else of that name in ``heads``; it may hold no head."""
    return Path(name) if (Path(name) / FILE_NAME).is_file() else heads / name


def write_head(
    path: Path, manifest: HeadManifest, weights: Weights, pictures: Mapping[str, bytes] = MappingProxyType({})
) -> HeadManifest:
    """Write the head, with ``pictures`` by file name, aside and then in the place of ``path``; returns its manifest.

    Raises:
        HeadError: ``path`` exists and is no head, or cannot be written.
    """
    check_replaceable(path)
    archive = io.BytesIO()
    np.savez_compressed(archive, **{name: getattr(weights, name) for name in _ARRAYS})
    data = archive.getvalue()
    sealed = msgspec.structs.replace(manifest, weights_sha256=hashlib.sha256(data).hexdigest()).sealed()
    text = msgspec.json.format(msgspec.json.encode(sealed), indent=2) + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged(path) as directory:
            for name, content in {WEIGHTS_FILE_NAME: data, **pictures, FILE_NAME: text}.items():
                (directory / name).write_bytes(content)
    except OSError as error:
        raise HeadError(f"cannot write {path}: {error.strerror}", help="choose another directory") from None
    return sealed


def check_replaceable(path: Path) -> None:
    """Raises HeadError when ``path`` exists and is no head."""
    if path.exists() and not (path / FILE_NAME).is_file():
        raise HeadError(f"{path} exists and is no head", help="remove it, or choose another name")


def open_head(path: Path) -> Head:
    """The head in the directory ``path``, after all checks; raises HeadError, which says in one line what is wrong."""
    return _Opening(path).head()


@dataclass(frozen=True)
class _Opening:
    path: Path

    def head(self) -> Head:
        manifest = self._manifest()
        self._check_labels(manifest.labels)
        return Head(manifest, self._weights(manifest))

    def _manifest(self) -> HeadManifest:
        text = self._content(FILE_NAME, _MOST_MANIFEST_BYTES)
        try:
            manifest = msgspec.json.decode(text, type=HeadManifest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._wrong(f"has an unreadable {FILE_NAME} ({error})") from None
        if manifest.format_version != FORMAT_VERSION:
            raise self._wrong(f"has format version {manifest.format_version}; this service reads {FORMAT_VERSION}")
        if manifest.digest != manifest.expected_digest():
            raise self._wrong(f"has an altered {FILE_NAME} (its digest does not match)")
        if manifest.name != self.path.name or manifest.name == ALL:
            raise self._wrong(f"is called {manifest.name!r} in its {FILE_NAME}; accepted: its directory's name")
        return manifest

    def _check_labels(self, labels: tuple[str, ...]) -> None:
        if not 1 <= len(labels) <= MOST_LABELS:
            raise self._wrong(f"has {len(labels)} labels; accepted: 1 to {MOST_LABELS}")
        repeated = {label for label in labels if labels.count(label) > 1}
        if repeated or UNKNOWN in labels:
            raise self._wrong(f"has the label {min(repeated or {UNKNOWN})!r} {'twice' if repeated else 'of its own'}")

    def _weights(self, manifest: HeadManifest) -> Weights:
        data = self._content(WEIGHTS_FILE_NAME, _MOST_WEIGHTS_BYTES)
        if hashlib.sha256(data).hexdigest() != manifest.weights_sha256:
            raise self._wrong(f"has a truncated or altered {WEIGHTS_FILE_NAME}")
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in _ARRAYS}
        except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise self._wrong(f"has an unreadable {WEIGHTS_FILE_NAME} ({error})") from None
        for name, array in found.items():
            if array.dtype != np.float32 or array.ndim != _ARRAYS[name] or not array.size:
                raise self._wrong(f"has weights of another kind: {name} is {array.dtype} {list(array.shape)}")
            if not np.isfinite(array).all():
                raise self._wrong(f"has NaN or infinite values in {name}")
        weights = Weights(**found)
        self._check_shapes(weights, len(manifest.labels))
        return weights

    def _check_shapes(self, weights: Weights, labels: int) -> None:
        outputs, features = weights.weight.shape
        fit = (
            outputs in (labels, labels + 1)
            and weights.bias.shape == (outputs,)
            and weights.subspace.shape == (len(weights.origin), features)
            and weights.taught.shape[1] == len(weights.origin)
        )
        if not fit:
            raise self._wrong(f"has weights that do not fit together, or not its {labels} labels")

    def _content(self, name: str, most_bytes: int) -> bytes:
        file = self.path / name
        try:
            # Reading a pipe in the place of the file would wait for ever.
            if not file.is_file():
                raise self._wrong(f"lacks {name}")
            if file.stat().st_size > most_bytes:
                raise self._wrong(f"has a {name} of more than {most_bytes} bytes")
            return file.read_bytes()
        except OSError as error:
            raise self._wrong(f"cannot be read: {error.strerror}") from None

    def _wrong(self, why: str) -> HeadError:
        return HeadError(f"head {self.path} {why}", help="teach it again, or remove it")
