"""The sources that one argument of the command line names: a source, a directory of videos, or a pattern of paths."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import replace
from pathlib import Path

from consumer.shown_text import without_credentials
from consumer.sources.source import ACCEPTED, Source, parse_source
from video.names import is_video_name, natural_key

# NAME=rtsp://..., NAME=/dev/video0: what follows the name cannot be mistaken for the rest of a file's name.
_NAMED = re.compile(r"([^=/:?]+)=([a-z0-9+]+://.*|/dev/video.*|.*\.sdp)", re.DOTALL)


def parse_sources(text: str) -> list[Source]:
    """Return the sources that ``text`` names, the files of a directory or pattern in the order of their names.

    A live source may have its own name before it: ``door=rtsp://HOST/PATH``. A directory with video files stands for
    these; another one is a directory of images. Raises ValueError that says what is accepted.
    """
    if (named := _NAMED.fullmatch(text)) and not _exists(text):
        return [with_name(parse_source(named[2]), named[1])]
    if "://" in text or _exists(text) or not glob.has_magic(text):
        return _of_path(text)
    found = sorted(glob.glob(text, recursive=True), key=natural_key)  # noqa: PTH207 absolute patterns, too
    sources = [source for path in found for source in _of_path(path)]
    if not sources:
        raise ValueError(f"no file matches {text!r}; {ACCEPTED}")
    return sources


def _exists(text: str) -> bool:
    # Unlike Path.exists(), this is False for a text that is too long to be a path.
    return os.path.exists(text)  # noqa: PTH110


def with_name(source: Source, name: str) -> Source:
    """``source`` under the name that the user gave it. Raises ValueError if it cannot be shown in a log."""
    if not name.strip() or not name.isprintable():
        raise ValueError(f"{name!r} is not a name; accepted: a text that can be printed")
    return replace(source, name=without_credentials(name.strip()))


def _of_path(text: str) -> list[Source]:
    if "://" in text or not Path(text).is_dir():
        return [parse_source(text)]
    try:
        files = [path for path in Path(text).iterdir() if is_video_name(path.name) and path.is_file()]
    except OSError:
        # Reported when the directory is opened.
        files = []
    if files:
        return [parse_source(str(path)) for path in sorted(files, key=lambda path: natural_key(path.name))]
    return [parse_source(text)]
