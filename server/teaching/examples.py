"""The examples of actions on disk: ``HEAD/examples/ACTION/*``, as ``python -m teaching`` takes them."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engines.linear_heads.manifest import ALL, NAME, UNKNOWN
from engines.storage.staging import staged
from server.errors import InvalidError, NotFoundError, OverloadedError, TooLargeError, UnsupportedMediaError, shown

BACKGROUND = "background"
"""The action that is none: what is in no way one of the others."""

SUFFIXES = {
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "video/x-matroska": ".mkv",
    "video/x-msvideo": ".avi",
}
MOST_EXAMPLE_BYTES = 64 * 2**20
_MOST_HEADS = 64
_MOST_ACTIONS = 100
_MOST_EXAMPLES = 500
_MOST_BYTES = 8 * 2**30
# No path separator, no dot at the beginning and none at the end.
_ACTION = re.compile(r"\w(?:[\w ,.()'+&-]{0,62}[\w)])?")
_EXAMPLE = re.compile(r"[0-9a-f]{16}(?:\.[a-z0-9]{3,4})?")
_RETRY_S = 60


@dataclass(frozen=True, slots=True)
class Example:
    """A video, or a directory of frames; ``size_bytes`` is what it takes on disk."""

    name: str
    size_bytes: int


class Examples:
    """The examples in ``directory``; every method may block, and raises OverloadedError when the disk fails.

    Invariant: a file is written aside and renamed, so that an example is there as a whole or not at all.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def heads(self) -> list[str]:
        """The names of the heads for which there are examples, sorted."""
        return [name for name in _names(self._directory) if re.fullmatch(NAME, name) and name != ALL]

    def of(self, head: str) -> dict[str, list[Example]]:
        """The examples of ``head`` by action, both in the order of their names."""
        place = self.place(head)
        return {action: self._listed(place / action) for action in _names(place)}

    def place(self, head: str) -> Path:
        """Where the actions of ``head`` are; raises InvalidError for a name that no head may have."""
        if not re.fullmatch(NAME, head) or head == ALL:
            accepted = "1 to 64 letters, digits, '.', '_' and '-', not 'all'"
            raise InvalidError(f"head is {shown(head)}; accepted: {accepted}", field="head")
        return self._directory / head / "examples"

    def add_video(self, head: str, action: str, content_type: str, data: bytes | bytearray) -> Example:
        """Keep a video. Raises InvalidError, UnsupportedMediaError, TooLargeError, OverloadedError."""
        suffix = SUFFIXES.get(content_type.partition(";")[0].strip().lower())
        if suffix is None:
            accepted = ", ".join(SUFFIXES)
            raise UnsupportedMediaError(f"content type {shown(content_type)}; accepted: {accepted}")
        if not data:
            raise InvalidError("the body is empty; accepted: a video")

        def write(path: Path) -> None:
            aside = path.with_name(f".{path.name}.partial")
            aside.write_bytes(data)
            aside.rename(path)

        return self._added(head, action, f"{_digest(data)}{suffix}", len(data), write)

    def add_frames(self, head: str, action: str, frames: Sequence[npt.NDArray[np.uint8]], edge: int) -> Example:
        """Keep ``frames``, each uint8 BGR [S, S, 3], as images whose centre they are; raises as ``add_video`` does.

        ``edge`` pixels is the short edge to which the model resizes, so that it cuts exactly ``frames`` out of them.
        """
        margin = edge - len(frames[0])
        images = [cv2.imencode(".png", _padded(frame, margin))[1].tobytes() for frame in frames]

        def write(path: Path) -> None:
            with staged(path) as directory:
                for index, image in enumerate(images):
                    (directory / f"{index:03}.png").write_bytes(image)

        data = b"".join(images)
        return self._added(head, action, _digest(data), len(data), write)

    def remove(self, head: str, action: str, name: str) -> None:
        """Remove an example, and its action with the last one. Raises InvalidError, NotFoundError."""
        path = self._of_action(head, action) / name
        if not _EXAMPLE.fullmatch(name) or not path.exists():
            raise NotFoundError(f"{action} has no example {shown(name)}", field="example")
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        if not self._listed(path.parent):
            shutil.rmtree(path.parent)

    def _added(self, head: str, action: str, name: str, size_bytes: int, write: Callable[[Path], None]) -> Example:
        place = self._of_action(head, action)
        self._check_room(head, action, size_bytes)
        try:
            place.mkdir(parents=True, exist_ok=True)
            if not (place / name).exists():
                write(place / name)
        except OSError as error:
            raise OverloadedError(f"cannot keep the example: {error.strerror}", retry_after_s=_RETRY_S) from None
        return Example(name, size_bytes)

    def _of_action(self, head: str, action: str) -> Path:
        if not _ACTION.fullmatch(action) or action == UNKNOWN:
            accepted = "1 to 64 letters, digits, spaces and ,.()'+&-, not 'unknown'"
            raise InvalidError(f"action is {shown(action)}; accepted: {accepted}", field="action")
        return self.place(head) / action

    def _check_room(self, head: str, action: str, size_bytes: int) -> None:
        if size_bytes > MOST_EXAMPLE_BYTES:
            raise TooLargeError(f"the example has {size_bytes} bytes; accepted: at most {MOST_EXAMPLE_BYTES}")
        actions = self.of(head)
        for what, found, most in (
            ("heads", len({*self.heads(), head}), _MOST_HEADS),
            ("actions of this head", len({*actions, action}), _MOST_ACTIONS),
            ("examples of this action", len(actions.get(action, [])) + 1, _MOST_EXAMPLES),
            ("bytes of examples", self._size_bytes() + size_bytes, _MOST_BYTES),
        ):
            if found > most:
                raise InvalidError(f"there would be {found} {what}; accepted: at most {most}")

    def _listed(self, action: Path) -> list[Example]:
        return [Example(name, _size_bytes(action / name)) for name in _names(action)]

    def _size_bytes(self) -> int:
        return sum(_size_bytes(self.place(head)) for head in self.heads())


def _names(directory: Path) -> list[str]:
    """What is in ``directory``, sorted, without what is still being written."""
    return sorted(path.name for path in directory.glob("[!.]*")) if directory.is_dir() else []


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(each.stat().st_size for each in path.rglob("*.*"))


def _digest(data: bytes | bytearray) -> str:
    """A name by content, so that the same example is kept once."""
    return hashlib.sha256(data).hexdigest()[:16]


def _padded(frame: npt.NDArray[np.uint8], margin: int) -> npt.NDArray[np.uint8]:
    before = margin // 2
    after = margin - before
    return np.asarray(cv2.copyMakeBorder(frame, before, after, before, after, cv2.BORDER_REPLICATE), np.uint8)
