"""The videos that the arguments of a command name."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from archive.errors import InputError
from archive.files.place import Place, place, reason_of
from archive.video import Video
from video.errors import VideoUnreadableError
from video.names import is_video_name, natural_key

ACCEPTED = "accepted: video files, directories with video files, and URLs of both, as s3://BUCKET/PATH"


@dataclass(frozen=True, slots=True)
class Input:
    """A video at ``place``; ``key`` is its path below the directory that was named, and names its results."""

    place: Place
    key: str

    def video(self, scratch: Path) -> Video:
        """The video; a file that is not on this machine is copied into the directory ``scratch`` while it is read."""
        if self.place.local:
            return Video(self.place.name, lambda: self.place.path, key=self.key)
        copy = _Copy(self.place, scratch)
        return Video(self.place.name, copy.fetch, copy.release, self.key)


def find_inputs(texts: Iterable[str]) -> list[Input]:
    """The videos that ``texts`` name: files, and directories with all the video files below them, by their names.

    Raises:
        InputError: a directory cannot be listed or holds no video, or two videos would have the same results.
    """
    inputs: dict[str, Input] = {}
    for found in (found for text in texts for found in _named_by(text)):
        before = inputs.setdefault(found.key, found)
        if before.place.path != found.place.path:
            raise InputError(
                f"the results of {before.place.name} and {found.place.name} would have the same name",
                "give their common directory instead, or label them into several --out",
            )
    return list(inputs.values())


def _named_by(text: str) -> Iterator[Input]:
    try:
        root = place(text)
        if not root.files.isdir(root.path):
            yield Input(root, posixpath.basename(root.path.rstrip("/")))
            return
        paths = sorted((path for path in root.files.find(root.path) if is_video_name(path)), key=natural_key)
    # The libraries behind fsspec have exceptions of their own.
    except Exception as error:
        raise InputError(f"cannot list {text}: {reason_of(error)}", ACCEPTED) from error
    if not paths:
        raise InputError(f"there is no video file in {text}", ACCEPTED)
    for path in paths:
        key = posixpath.relpath(path, root.path)
        yield Input(root.below(key), key)


class _Copy:
    """A local copy of ``place``, which exists from ``fetch`` to ``release``."""

    def __init__(self, place: Place, scratch: Path) -> None:
        self._place = place
        self._scratch = scratch
        self._path: Path | None = None

    def fetch(self) -> str:
        """Copy the file and return the path of the copy. Raises VideoUnreadableError."""
        with tempfile.NamedTemporaryFile(dir=self._scratch, delete=False) as file:
            self._path = Path(file.name)
        try:
            self._place.files.get_file(self._place.path, file.name)
        except Exception as error:  # the libraries behind fsspec have exceptions of their own
            raise VideoUnreadableError(
                f"cannot read {self._place.name}: {reason_of(error)}", "check its address, and the access to it"
            ) from error
        return file.name

    def release(self) -> None:
        """Remove the copy."""
        path, self._path = self._path, None
        if path is not None:
            with suppress(OSError):
                path.unlink()
