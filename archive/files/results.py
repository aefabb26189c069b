"""The directory of an archive's results: which videos are done, and which have failed."""

from __future__ import annotations

import posixpath
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from archive.errors import OutputError
from archive.files import table
from archive.files.place import PARTIAL, Place, reason_of
from archive.files.table import Description
from archive.video import Video, WindowScores

DESCRIPTION_NAME = "archive.json"
FAILURES_NAME = "failures.jsonl"
# The file of failures is written as a whole, because buckets cannot append; at most this often.
_FAILURES_EVERY_S = 5.0


class Failure(msgspec.Struct, frozen=True):
    """A line of the file of failures: why ``video`` could not be labelled."""

    video: str
    reason: str


class Results:
    """The results in the directory ``root``: a Parquet file for each video that is done, named after its key.

    Nothing else says what is done, so a video costs its own work again whenever a process is killed, and no more.
    """

    def __init__(self, root: Place, description: Description) -> None:
        self.description = description
        self._root = root
        self._failures: list[Failure] = []
        self._written_s = 0.0

    def open(self) -> set[str]:
        """Prepare the directory and return the paths of the files in it, relative to it.

        Raises:
            OutputError: it cannot be used, or has the results of another model or sampling.
        """
        try:
            found = self._root.files.find(self._root.path) if self._root.files.exists(self._root.path) else []
            self._check_description()
        except OutputError:
            raise
        except Exception as error:  # the libraries behind fsspec have exceptions of their own
            raise self._unusable(error) from error
        return {posixpath.relpath(path, self._root.path) for path in found if not path.endswith(PARTIAL)}

    def has(self, name: str) -> bool:
        """Whether the file ``name`` is there. Raises OutputError."""
        try:
            return bool(self._root.files.exists(self._root.below(name).path))
        except Exception as error:
            raise self._unusable(error) from error

    def write(self, key: str, suffix: str, content: bytes) -> None:
        """Write the result ``suffix`` of the video ``key``; it is whole where it exists. Raises OutputError."""
        try:
            self._root.below(key + suffix).write(content)
        except Exception as error:
            raise self._unusable(error) from error

    def put(self, key: str, suffix: str, file: Path) -> None:
        """Write the local ``file`` as ``write`` does. Raises OutputError."""
        try:
            self._root.below(key + suffix).put(file)
        except Exception as error:
            raise self._unusable(error) from error

    def write_windows(self, video: Video, windows: list[WindowScores]) -> None:
        """Write the Parquet file of ``video``, by which it is done. Raises OutputError."""
        self.write(video.key, table.SUFFIX, table.encode(video.name, windows, self.description))

    def read_windows(self, key: str) -> list[WindowScores]:
        """The windows of a video that is done. Raises OutputError."""
        try:
            return table.decode(self._root.below(key + table.SUFFIX).read())
        except Exception as error:
            raise OutputError(
                f"cannot read {key}{table.SUFFIX} in {self._root.name}: {reason_of(error)}",
                "delete it to label it again",
            ) from error

    def fail(self, video: str, reason: str) -> None:
        """Add ``video`` to the file of failures. Raises OutputError."""
        self._failures.append(Failure(video, reason))
        if time.monotonic() - self._written_s >= _FAILURES_EVERY_S:
            self.write_failures()

    def write_failures(self) -> None:
        """Write the file of this run's failures; it is removed where there are none. Raises OutputError."""
        self._written_s = time.monotonic()
        if self._failures:
            self.write(FAILURES_NAME, "", b"".join(msgspec.json.encode(each) + b"\n" for each in self._failures))
        else:
            with suppress(Exception):
                self._root.files.rm_file(self._root.below(FAILURES_NAME).path)

    def _check_description(self) -> None:
        file = self._root.below(DESCRIPTION_NAME)
        if not file.files.exists(file.path):
            file.write(msgspec.json.format(msgspec.json.encode(self.description)) + b"\n")
            return
        there = msgspec.json.decode(file.read(), type=Description)
        # The rows of a newer version mean the same; what they mean would only change with a new column.
        if msgspec.structs.replace(there, version="") != msgspec.structs.replace(self.description, version=""):
            raise OutputError(
                f"{self._root.name} has results of {_told(there)}, and these would be of {_told(self.description)}",
                "give another --out, or the --bundle, --head, --fps and --stride of that one",
            )

    def _unusable(self, error: Exception) -> OutputError:
        return OutputError(
            f"cannot write to {self._root.name}: {reason_of(error)}", "give a directory or URL that this user may write"
        )


def _told(description: Description) -> str:
    digest, rate = description.model_sha256[:8], f"{description.fps:g} frames per second"
    model = f"{description.model} ({digest})"
    if description.head:
        model += f" with the head {description.head} ({(description.head_sha256 or '')[:8]})"
    return f"{model} at {rate}, stride {description.stride}"
