"""The memory that all processes of the service share: clips, who has which place, and what is held at the moment."""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from collections.abc import Callable, MutableSequence
from typing import cast

import numpy as np
import numpy.typing as npt

from engines.errors import ConfigurationError
from server.ledger import MOST_PROCESSES, Figure

# Clips begin at multiples of it.
GRANULE_BYTES = 64 * 2**10
_PAGE_BYTES = 4096
_LEDGER_BYTES = len(Figure) * MOST_PROCESSES * 8


class Segment:
    """A file without a name: it is gone with the last process that has it, however that one ends.

    It takes only as much memory as clips have been in it at once. ``rate``: one float, see ``ServiceRate``;
    ``figures``: int64 [figure, process], see ``SharedLedger``; ``owners``: uint8 [granules], see ``Slots``;
    ``frames``: uint8 [bytes].
    """

    def __init__(self, fd: int) -> None:
        """``fd``: of ``created``, or as another process got it from there."""
        self.fd = fd
        self._map = mmap.mmap(fd, 0)
        granules = _granules(len(self._map))
        self._frames_at = len(self._map) - granules * GRANULE_BYTES
        whole = np.frombuffer(self._map, np.uint8)
        ledger, owners = whole[_PAGE_BYTES:], whole[_PAGE_BYTES + _LEDGER_BYTES :]
        self.rate = cast(MutableSequence[float], whole[:8].view(np.float64))
        self.figures = ledger[:_LEDGER_BYTES].view(np.int64).reshape(len(Figure), MOST_PROCESSES)
        self.owners = owners[:granules]
        self.frames = whole[self._frames_at :]
        self._first_address = self.frames.ctypes.data

    @classmethod
    def created(cls, frames_bytes: int) -> Segment:
        """With room for so many bytes of clips; raises ConfigurationError where the system has no such files."""
        if not hasattr(os, "memfd_create"):
            raise ConfigurationError("--http-workers needs Linux", help="leave it out")
        fd = os.memfd_create("vjepa2-clips", os.MFD_CLOEXEC)
        os.ftruncate(fd, _file_bytes(-(-frames_bytes // GRANULE_BYTES)))
        return cls(fd)

    def view(self, offset: int, count_bytes: int, when_gone: Callable[[], object]) -> npt.NDArray[np.uint8]:
        """uint8 [count_bytes] of the frames; ``when_gone`` is called, in any thread, when nothing looks at it any more.

        Raises:
            ValueError: so much is not there.
        """
        if not 0 <= offset <= len(self.frames) - count_bytes:
            raise ValueError(f"{count_bytes} bytes at {offset} are not in the segment")
        # Views of an array may outlive it, but not what it looks at.
        piece = (ctypes.c_uint8 * count_bytes).from_buffer(self._map, self._frames_at + offset)
        weakref.finalize(piece, when_gone)
        return np.frombuffer(memoryview(piece), np.uint8)

    def offset_of(self, frames: npt.NDArray[np.uint8]) -> int | None:
        """Where an array from ``view`` begins; None for one that lies elsewhere."""
        offset = frames.ctypes.data - self._first_address
        return offset if 0 <= offset <= len(self.frames) - frames.nbytes else None

    def forget(self, owner: int) -> None:
        """What a process that has ended held is free again."""
        self.figures[:, owner] = 0
        # Only the cells of that owner are written: the others belong to processes that are alive.
        self.owners[self.owners == owner] = 0


def _file_bytes(granules: int) -> int:
    head_bytes = _PAGE_BYTES + _LEDGER_BYTES + granules
    return (-(-head_bytes // GRANULE_BYTES) + granules) * GRANULE_BYTES


def _granules(file_bytes: int) -> int:
    """Inverse of ``_file_bytes``."""
    granules = file_bytes // GRANULE_BYTES
    while _file_bytes(granules) > file_bytes:
        granules -= 1
    return granules
