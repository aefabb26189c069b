"""The errors of teaching; the others are those of videos, of the archive and of engines."""

from __future__ import annotations

from archive.errors import ArchiveError


class LessonError(ArchiveError):
    """What was given cannot be taught: too few videos or actions, or labels that a head cannot have."""
