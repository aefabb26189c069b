"""Writes a bundle aside: it gets its name when it is complete, so that it is never seen half-written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engines import manifest as manifests
from engines.errors import ExportError
from engines.manifest import BundleFile, Manifest
from engines.storage import staging
from engines.storage.bundle import sha256_of


@contextlib.contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A hidden directory beside ``output`` that replaces it when the block succeeds and is removed when it fails.

    Raises:
        ExportError: ``output`` exists and is not a bundle, or cannot be written.
    """
    check_replaceable(output)
    with contextlib.ExitStack() as stack:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            directory = stack.enter_context(staging.staged(output))
        except OSError as error:
            raise ExportError(
                f"cannot write in {output.parent}: {error.strerror}", help="choose another --output"
            ) from None
        yield directory


def write_manifest(directory: Path, manifest: Manifest) -> Manifest:
    """Add the files in ``directory`` with their hashes to ``manifest``, seal it, and write it there."""
    sealed = msgspec.structs.replace(manifest, files=tuple(_bundle_files(directory))).sealed()
    (directory / manifests.FILE_NAME).write_bytes(manifests.encode(sealed))
    return sealed


def _bundle_files(directory: Path) -> Iterator[BundleFile]:
    for path in sorted(directory.iterdir()):
        if path.name != manifests.FILE_NAME:
            yield BundleFile(name=path.name, size_bytes=path.stat().st_size, sha256=sha256_of(path))


def check_replaceable(output: Path) -> None:
    """Raises ExportError when ``output`` exists and is not a bundle."""
    if output.exists() and not (output / manifests.FILE_NAME).is_file():
        raise ExportError(f"{output} exists and is not a bundle", help="remove it, or choose another --output")
