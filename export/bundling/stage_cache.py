"""Keeps the results of finished stages under a digest of their inputs, so that an interrupted export can resume."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import BaseFileLock, FileLock

BUILDERS = ("torch", "torchvision", "transformers", "onnx", "onnxscript", "openvino", "nncf")
# The code that determines the content of a bundle. A change to any file in these folders starts every export anew.
CODE_FOLDERS = (
    "engines/preprocessing",
    "export/architectures",
    "export/compilers",
    "export/demo/rendering",
    "export/network",
)
_ROOT = Path(__file__).parents[2]
_KEPT_S = 7 * 24 * 3600


def versions() -> dict[str, str]:
    """The versions of the installed libraries that build a bundle."""
    installed = {}
    for name in BUILDERS:
        with contextlib.suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed


def digest_of(*parts: object) -> str:
    """Hex SHA-256 of ``parts``, the inputs of a result."""
    return hashlib.sha256("\0".join(map(repr, parts)).encode()).hexdigest()


def origin_of(*checkpoint: object) -> str:
    """Digest of what identifies a checkpoint, and of the code and the libraries that turn it into an engine."""
    return digest_of(*checkpoint, code_digest(), versions())


def code_digest(root: Path = _ROOT) -> str:
    """Digest of the names and contents of all modules in ``CODE_FOLDERS`` below ``root``."""
    files = sorted(file for folder in CODE_FOLDERS for file in (root / folder).rglob("*.py"))
    return digest_of(*((file.relative_to(root).as_posix(), file.read_bytes()) for file in files))


class StageCache:
    """Results of stages in a hidden directory beside the bundles.

    Invariant: each result is a directory that appears under its name only when it is complete.
    """

    def __init__(self, bundles: Path, origin: str) -> None:
        self.directory = bundles / ".work" / origin[:16]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock that lets one export of a checkpoint run at a time, after waiting for it."""
        lock = self._acquired()
        try:
            yield
        finally:
            # Removed while it is held, so that a waiting export notices the removal and creates a new file.
            Path(lock.lock_file).unlink(missing_ok=True)
            self._remove_if_empty()
            lock.release()

    def product(self, name: str, build: Callable[[Path], None]) -> Path:
        """The directory ``name``; ``build`` fills it if it does not exist yet."""
        path = self.directory / name
        if path.is_dir():
            return path
        self.directory.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".partial", dir=self.directory))
        try:
            build(aside)
            aside.rename(path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return path

    def clear(self) -> None:
        """Remove all results of this export, and those of unfinished exports that are older than a week."""
        shutil.rmtree(self.directory, ignore_errors=True)
        for other in self.directory.parent.iterdir():
            with contextlib.suppress(FileNotFoundError):  # its own export has just removed it
                if other.is_dir() and time.time() - other.stat().st_mtime > _KEPT_S:
                    shutil.rmtree(other, ignore_errors=True)

    def _acquired(self) -> BaseFileLock:
        lock = FileLock(self.directory.with_suffix(".lock"))
        while not lock.is_locked:
            # The export that finishes may remove the directory between any two of these calls.
            with contextlib.suppress(FileExistsError):
                self.directory.parent.mkdir(parents=True)
            with contextlib.suppress(FileNotFoundError):
                lock.acquire()
        return lock

    def _remove_if_empty(self) -> None:
        for directory in (self.directory, self.directory.parent):
            with contextlib.suppress(OSError):
                directory.rmdir()


def link_files(product: Path, directory: Path) -> None:
    """Hard-link the files of ``product`` into ``directory``; copy them if the file system has no hard links."""
    for file in product.iterdir():
        try:
            os.link(file, directory / file.name)
        except OSError:
            shutil.copy2(file, directory / file.name)
