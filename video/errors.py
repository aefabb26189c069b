"""The errors of reading a recording.

VideoError                      what is wrong, and a hint on what to do
├── VideoUnreadableError        it cannot be opened, or reading failed
└── NoVideoError                it contains no video that can be decoded
"""

from __future__ import annotations


class VideoError(Exception):
    """An expected failure; ``str()`` is one line: ``what`` happened, then ``help:`` and ``hint``."""

    def __init__(self, what: str, hint: str) -> None:
        self.what = what
        self.hint = hint
        super().__init__(f"{what}; help: {hint}")


class VideoUnreadableError(VideoError):
    """The recording cannot be opened, or reading it failed."""


class NoVideoError(VideoError):
    """The recording contains no video that can be decoded."""
