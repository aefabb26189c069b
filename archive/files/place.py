"""A path on a file system: local, ``s3://``, ``gs://``, or another one that fsspec knows."""

from __future__ import annotations

import posixpath
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

PARTIAL = ".partial"
"""How the names of files end that are being written."""

_USER = re.compile(r"(?<=://)[^\s/?#]*@")


@dataclass(frozen=True, slots=True)
class Place:
    """``path`` on ``files``; ``name`` is what the user called it, without a password."""

    files: AbstractFileSystem
    path: str
    name: str

    @property
    def local(self) -> bool:
        return isinstance(self.files, LocalFileSystem)

    @property
    def address(self) -> str:
        """The path or URL by which another process finds it."""
        return self.path if self.local else str(self.files.unstrip_protocol(self.path))

    def below(self, key: str) -> Place:
        """The place with the relative path ``key`` in this directory."""
        return Place(self.files, posixpath.join(self.path, key), posixpath.join(self.name, key))

    def read(self) -> bytes:
        """The content of the file; raises OSError, or what else its file system raises."""
        content: bytes = self.files.cat_file(self.path)
        return content

    def write(self, content: bytes) -> None:
        """Write the file aside and rename it, so that it is whole wherever it exists. Raises as ``read`` does."""
        self._aside(lambda path: self.files.pipe_file(path, content))

    def put(self, file: Path) -> None:
        """Write the content of a local file as ``write`` does."""
        self._aside(lambda path: self.files.put_file(str(file), path))

    def _aside(self, write: Callable[[str], None]) -> None:
        directory, name = posixpath.split(self.path)
        aside = posixpath.join(directory, f".{name}.{secrets.token_hex(4)}{PARTIAL}")
        with suppress(NotImplementedError):
            self.files.makedirs(directory, exist_ok=True)
        try:
            write(aside)
            self.files.mv(aside, self.path)
        except BaseException:
            with suppress(Exception):
                self.files.rm_file(aside)
            raise


def place(text: str) -> Place:
    """The place that ``text``, a path or a URL, names. Raises ValueError or ImportError for an unknown kind of URL."""
    if "://" not in text:
        return Place(LocalFileSystem(), str(Path(text).absolute()), text)
    files, path = url_to_fs(text)
    return Place(files, path, _USER.sub("", text))


def reason_of(error: BaseException) -> str:
    """One line for what a file system has raised."""
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return " ".join(str(text).split())
