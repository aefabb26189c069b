"""What a decoder process may use."""

from __future__ import annotations

import contextlib
import os
import resource

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one process; ``None`` leaves the limit that it has.

    ``memory_bytes`` is its address space, of which an idle decoder has about 1 GiB reserved; ``cpu_s`` the seconds of
    CPU of all its threads, after which it is killed; ``open_files`` the number of its descriptors. ``niceness`` lets
    the engine and others go first.
    """

    memory_bytes: int | None = None
    cpu_s: int | None = None
    open_files: int | None = None
    niceness: int = 10

    def apply(self) -> None:
        """Limit this process, for good."""
        with contextlib.suppress(OSError):
            os.nice(self.niceness)
        _limit(resource.RLIMIT_AS, self.memory_bytes)
        _limit(resource.RLIMIT_CPU, self.cpu_s)
        _limit(resource.RLIMIT_NOFILE, self.open_files)


def _limit(kind: int, value: int | None) -> None:
    if value is None:
        return
    _, hard = resource.getrlimit(kind)
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (most, most))
