"""What an export has made so far: kept by content, so that running it again goes on where it was stopped."""

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

BUILDERS = ("torch", "transformers", "onnx", "onnxscript", "openvino", "nncf")
# All that decides what a bundle holds: a change of any file in them begins every export anew.
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
    """Of everything installed that builds a bundle."""
    installed = {}
    for name in BUILDERS:
        with contextlib.suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed


def digest_of(*parts: object) -> str:
    """Hex SHA-256 over what a result was made from."""
    return hashlib.sha256("\0".join(map(repr, parts)).encode()).hexdigest()


def origin_of(*checkpoint: object) -> str:
    """Digest of what tells a checkpoint from others, and of the code and libraries that turn it into an engine."""
    return digest_of(*checkpoint, code_digest(), versions())


def code_digest(root: Path = _ROOT) -> str:
    """Digest of the names and contents of all modules in ``CODE_FOLDERS`` below ``root``."""
    files = sorted(file for folder in CODE_FOLDERS for file in (root / folder).rglob("*.py"))
    return digest_of(*((file.relative_to(root).as_posix(), file.read_bytes()) for file in files))


class Work:
    """Intermediate results in a hidden directory beside the bundles, each there as a whole or not at all."""

    def __init__(self, bundles: Path, origin: str) -> None:
        self._directory = bundles / ".work" / origin[:16]

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other export of the same checkpoint works here."""
        lock = self._locked()
        try:
            yield
        finally:
            # While it is held: who waits for it then sees that it is gone, and makes another.
            Path(lock.lock_file).unlink(missing_ok=True)
            self._remove_if_empty()
            lock.release()

    def product(self, name: str, build: Callable[[Path], None]) -> Path:
        """The directory ``name``, which ``build`` fills unless it is there already."""
        path = self._directory / name
        if path.is_dir():
            return path
        self._directory.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".partial", dir=self._directory))
        try:
            build(aside)
            aside.rename(path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return path

    def forget(self) -> None:
        """Remove all products, and what exports that nobody finished left behind more than a week ago."""
        shutil.rmtree(self._directory, ignore_errors=True)
        for other in self._directory.parent.iterdir():
            with contextlib.suppress(FileNotFoundError):  # it has just been removed by its own export
                if other.is_dir() and time.time() - other.stat().st_mtime > _KEPT_S:
                    shutil.rmtree(other, ignore_errors=True)

    def _locked(self) -> BaseFileLock:
        lock = FileLock(self._directory.with_suffix(".lock"))
        while not lock.is_locked:
            # Between any two of these, whoever was here last may remove the directory.
            with contextlib.suppress(FileExistsError):
                self._directory.parent.mkdir(parents=True)
            with contextlib.suppress(FileNotFoundError):
                lock.acquire()
        return lock

    def _remove_if_empty(self) -> None:
        for directory in (self._directory, self._directory.parent):
            with contextlib.suppress(OSError):
                directory.rmdir()


def link_files(product: Path, directory: Path) -> None:
    """Put the files of ``product`` into ``directory`` without copying them, where the file system can."""
    for file in product.iterdir():
        try:
            os.link(file, directory / file.name)
        except OSError:
            shutil.copy2(file, directory / file.name)
