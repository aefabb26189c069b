"""Finds bundles on disk, and checks their files before anything reads them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from commandline.programs import command
from engines import manifest as manifests
from engines.errors import BundleDamagedError, BundleNotFoundError, BundleUnsupportedError
from engines.manifest import BundleFile, Manifest

BUNDLES = Path(__file__).parents[1] / "bundles"
DEMO = BUNDLES / "demo"


@dataclass(frozen=True)
class Bundle:
    """The directory ``path`` with its ``manifest``; ``content`` is the directory of the files that were checked.

    The two directories differ where a bundle is loaded from a copy (``engines/storage/pinned.py``).
    """

    path: Path
    manifest: Manifest
    content: Path

    def file(self, suffix: str) -> Path:
        """The one file whose name ends in ``suffix``; raises BundleDamagedError when there is none or several."""
        found = [file.name for file in self.manifest.files if file.name.endswith(suffix)]
        if len(found) != 1:
            raise _damaged(self.path, f"lists {len(found)} *{suffix} files in its manifest instead of one")
        return self.content / found[0]

    def files(self) -> list[Path]:
        """The paths of all files that the manifest lists."""
        return [self.content / file.name for file in self.manifest.files]


def find_bundle(name: str) -> Path:
    """The path of the bundle in the directory ``name``, else of the bundle of that name in ``engines/bundles``.

    The path may hold no bundle; ``open_bundle`` then raises BundleNotFoundError.
    """
    given, known = Path(name), BUNDLES / name
    for path in (given, known):
        if (path / manifests.FILE_NAME).is_file():
            return path
    return known if known.is_dir() and not given.is_dir() else given


def open_bundle(path: Path) -> Bundle:
    """Read and check the bundle in ``path``: manifest, format version, every file's size and SHA-256.

    Raises:
        BundleNotFoundError: ``path`` holds no bundle.
        BundleDamagedError: the bundle is truncated, altered or incomplete.
        BundleUnsupportedError: the bundle has another format version.
    """
    manifest = read_manifest(path)
    for file in manifest.files:
        check_size(path, file)
        check_file(path, file, path)
    return Bundle(path, manifest, path)


def replace_manifest(bundle: Bundle, **changes: Any) -> Bundle:
    """Change fields of the manifest, on disk too; raises OSError when the directory is not writable."""
    manifest = msgspec.structs.replace(bundle.manifest, format_version=manifests.FORMAT_VERSION, **changes).sealed()
    aside = bundle.path / f".{manifests.FILE_NAME}.partial"
    aside.write_bytes(manifests.encode(manifest))
    aside.chmod(0o644)  # a bundle that others may write is not loaded, so the umask must not allow it
    aside.replace(bundle.path / manifests.FILE_NAME)
    return replace(bundle, manifest=manifest)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bundles_in(directory: Path) -> list[Path]:
    """Directories in ``directory`` that hold a manifest, the newest first; incomplete bundles are hidden."""
    # Reading a pipe in the place of a manifest would wait for ever, and a broken link has no age.
    found = filter(Path.is_file, directory.glob(f"[!.]*/{manifests.FILE_NAME}"))
    return [file.parent for file in sorted(found, key=lambda file: file.stat().st_mtime_ns, reverse=True)]


def read_manifest(path: Path) -> Manifest:
    """The manifest in ``path``, whose files are not checked; raises the errors of ``open_bundle``."""
    file = path / manifests.FILE_NAME
    try:
        # Reading a pipe in the place of the manifest would wait for ever.
        if not file.is_file():
            raise _not_found(path)
        text = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise _not_found(path) from None
    try:
        _check_version(path, manifests.decode_format_version(text))
        manifest = manifests.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(path, f"has an unreadable {manifests.FILE_NAME} ({error})") from None
    if manifest.digest != manifest.expected_digest():
        raise _damaged(path, f"has an altered {manifests.FILE_NAME} (its digest does not match)")
    return manifest


def _check_version(path: Path, version: int) -> None:
    if version not in manifests.READ_VERSIONS:
        cure = "update this service" if version > manifests.FORMAT_VERSION else "export the model again"
        known = " and ".join(map(str, manifests.READ_VERSIONS))
        raise BundleUnsupportedError(
            f"bundle {path} has format version {version}; this service reads {known}", help=cure
        )


def check_size(path: Path, file: BundleFile) -> None:
    """Raises BundleDamagedError when ``file`` of the bundle in ``path`` is missing or has another size."""
    try:
        size_bytes = (path / file.name).stat().st_size
    except FileNotFoundError:
        raise _damaged(path, f"lacks {file.name}") from None
    if size_bytes != file.size_bytes:
        raise _damaged(path, f"has a truncated {file.name} ({size_bytes} bytes instead of {file.size_bytes})")


def check_file(directory: Path, file: BundleFile, path: Path) -> None:
    """Raises BundleDamagedError when ``file`` in ``directory`` is not what the bundle in ``path`` lists."""
    if sha256_of(directory / file.name) != file.sha256:
        raise _damaged(path, f"has an altered {file.name} (its SHA-256 does not match)")


def read_file(path: Path, file: BundleFile) -> bytes:
    """The content of ``file`` of the bundle in ``path``; raises BundleDamagedError when it is not what is listed."""
    try:
        data = (path / file.name).read_bytes()
    except OSError as error:
        raise _damaged(path, f"has an unreadable {file.name} ({error.strerror})") from None
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise _damaged(path, f"has an altered {file.name} (its SHA-256 does not match)")
    return data


def _not_found(path: Path) -> BundleNotFoundError:
    known = ", ".join(sorted(bundle.name for bundle in bundles_in(BUNDLES))) or "none"
    return BundleNotFoundError(
        f"no engine bundle at {path} (no {manifests.FILE_NAME}); built here: {known}",
        help=f"name one of these, or build one with `{command('export', 'MODEL')}`",
    )


def _damaged(path: Path, what: str) -> BundleDamagedError:
    cure = "git checkout -- engines/bundles/demo" if path.resolve() == DEMO else command("export", "MODEL")
    return BundleDamagedError(f"bundle {path} {what}", help=f"restore it with `{cure}`")
