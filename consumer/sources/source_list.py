"""The sources that one argument of the command line names: a source, a directory of videos, or a pattern of paths."""

from __future__ import annotations

import glob
from pathlib import Path

from consumer.sources.image_directory import natural_key
from consumer.sources.source import ACCEPTED, Source, parse_source

VIDEO_SUFFIXES = frozenset(
    (
        *(".3gp", ".asf", ".avi", ".dav", ".flv", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    )
)
"""The names of files that are read as videos from a directory; a file that is named itself may have any name."""


def parse_sources(text: str) -> list[Source]:
    """Return the sources that ``text`` names, the files of a directory or pattern in the order of their names.

    A directory with video files stands for these; another one is a directory of images. Raises ValueError that says
    what is accepted.
    """
    if "://" in text or Path(text).exists() or not glob.has_magic(text):
        return _of_path(text)
    found = sorted(glob.glob(text, recursive=True), key=natural_key)  # noqa: PTH207 absolute patterns, too
    sources = [source for path in found for source in _of_path(path)]
    if not sources:
        raise ValueError(f"no file matches {text!r}; {ACCEPTED}")
    return sources


def _of_path(text: str) -> list[Source]:
    if "://" in text or not Path(text).is_dir():
        return [parse_source(text)]
    try:
        files = [path for path in Path(text).iterdir() if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
    except OSError:
        # Reported when the directory is opened.
        files = []
    if files:
        return [parse_source(str(path)) for path in sorted(files, key=lambda path: natural_key(path.name))]
    return [parse_source(text)]
