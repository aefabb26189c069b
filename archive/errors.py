"""The errors of the archive.

ArchiveError                what is wrong, and a hint on what to do
├── DecoderDiedError        the decoder process ended in the middle of a video
├── DecoderSilentError      it sent nothing for too long, and was ended
├── ClusterError            the cluster cannot be reached, or one of its workers failed
├── RemoteError             the service that should label does not answer, or not as it should
├── InputError              what is to be labelled cannot be listed
└── OutputError             results cannot be written

What a video itself is the cause of is a ``video.errors.VideoError``.
"""

from __future__ import annotations


class ArchiveError(Exception):
    """An expected failure; ``str()`` is one line: ``what`` happened, then ``help:`` and ``hint``."""

    def __init__(self, what: str, hint: str) -> None:
        self.what = what
        self.hint = hint
        super().__init__(f"{what}; help: {hint}")


class DecoderDiedError(ArchiveError):
    """The decoder process ended in the middle of the video ``name``, with ``code``: of a signal where negative."""

    def __init__(self, name: str, code: int) -> None:
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        super().__init__(f"the decoder of {name} ended {how}", "the video may be damaged or hostile, or memory short")


class DecoderSilentError(ArchiveError):
    """The decoder process sent nothing for ``silence_s`` seconds."""

    def __init__(self, name: str, silence_s: float) -> None:
        super().__init__(f"the decoder of {name} sent nothing for {silence_s:g} s and was ended", "check the video")


class ClusterError(ArchiveError):
    """The cluster cannot be reached, or one of its workers failed."""


class RemoteError(ArchiveError):
    """The service that should label the windows does not answer, or not as it should."""


class InputError(ArchiveError):
    """The videos that are to be labelled cannot be listed, or would share the names of their results."""


class OutputError(ArchiveError):
    """The results cannot be written to the given place."""
