"""The names of video files: which are taken from a directory, and in which order."""

from __future__ import annotations

import re
from pathlib import PurePath

VIDEO_SUFFIXES = frozenset(
    (
        *(".3gp", ".asf", ".avi", ".dav", ".flv", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    )
)
"""The names of files that are read as videos from a directory; a file that is named itself may have any name."""


def is_video_name(name: str) -> bool:
    """Whether a file of that name is read as a video from a directory."""
    return PurePath(name).suffix.lower() in VIDEO_SUFFIXES


def natural_key(name: str) -> list[tuple[int, str]]:
    """The key that sorts names with numbers by their values: 2 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]
