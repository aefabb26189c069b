"""Opens a bundle whose content the operator has named by its digest, and no other."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engines.errors import BundleUntrustedError, ConfigurationError
from engines.manifest import BundleFile
from engines.storage.bundle import Bundle, check_file, check_size, open_bundle, read_manifest

_CHUNK_BYTES = 2**20


@contextlib.contextmanager
def opened(path: Path, digests: tuple[str, ...]) -> Iterator[Bundle]:
    """The checked bundle in ``path``; with ``digests``, only if its content has one of them.

    The content of a pinned bundle is checked and loaded in a private copy, so that nobody can change a file between
    its check and its use, and so that no file is loaded that the manifest does not list. The copy is removed at the
    end of the block.

    Raises:
        BundleUntrustedError: the content has another digest; nothing but the manifest was read.
        ConfigurationError: there is no room for the copy.
        BundleNotFoundError, BundleDamagedError, BundleUnsupportedError: see ``open_bundle``.
    """
    if not digests:
        yield open_bundle(path)
        return
    manifest = read_manifest(path)
    found = manifest.content_sha256()
    if found not in digests:
        raise BundleUntrustedError(
            f"bundle {path} has the digest {found}, which --bundle-sha256 does not name",
            help="restore the bundle that you pinned, or add this digest if it is a bundle of yours",
        )
    with tempfile.TemporaryDirectory(prefix="bundle-") as copy:
        for file in manifest.files:
            check_size(path, file)
            _copy(path, Path(copy), file)
            check_file(Path(copy), file, path)
        yield Bundle(path, manifest, Path(copy))


def _copy(path: Path, copy: Path, file: BundleFile) -> None:
    """Copy at most the size in the manifest, so that a file that grows meanwhile cannot fill the disk."""
    rest_bytes = file.size_bytes
    try:
        with (path / file.name).open("rb") as original, open(copy / file.name, "xb", opener=_private) as target:
            while chunk := original.read(min(rest_bytes, _CHUNK_BYTES)):
                target.write(chunk)
                rest_bytes -= len(chunk)
    except OSError as error:
        raise ConfigurationError(
            f"cannot copy {path / file.name} to {copy} ({error.strerror})",
            help="a pinned bundle is loaded from a private copy; set TMPDIR to a directory with room for the bundle",
        ) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
