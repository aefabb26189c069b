"""Page-locked host memory, which a CUDA device copies from directly: reserved once, allocated in pieces."""

from __future__ import annotations

import bisect
import collections
import ctypes
import threading
import weakref

import numpy as np
import numpy.typing as npt
import torch

_ALIGNMENT_BYTES = 4096


class PageLockedMemory:
    """First-fit allocation from one block; a piece is freed when the last array that uses it is collected.

    Invariants under ``_lock``: free pieces are sorted by offset, never overlap or touch, and no live array uses them.
    ``_returned`` holds pieces whose arrays are gone and that are not free yet: a finaliser may run at any allocation,
    also in a thread that holds the lock, so it takes none.
    """

    def __init__(self, size_bytes: int, *, locked: bool) -> None:
        """``locked=False`` takes ordinary memory, for the CPU device."""
        self.size_bytes = size_bytes
        self._block = torch.empty(size_bytes, dtype=torch.uint8, pin_memory=locked)
        self._lock = threading.Lock()
        self._free: list[tuple[int, int]] = [(0, size_bytes)]  # offset and size in bytes
        self._returned: collections.deque[tuple[int, int]] = collections.deque()

    @property
    def free_bytes(self) -> int:
        with self._lock:
            self._free_returned()
            return sum(size for _, size in self._free)

    def allocate(self, count_bytes: int) -> npt.NDArray[np.uint8] | None:
        """Uninitialised uint8 [count_bytes]; None if no free piece is large enough."""
        size = -(-count_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        offset = self._take(size)
        if offset is None:
            return None
        # A view may outlive its array, but every view keeps this buffer alive; so its end frees the piece.
        piece = (ctypes.c_uint8 * count_bytes).from_address(self._block.data_ptr() + offset)
        # The finaliser also keeps the block for as long as the piece is used, even after the engine was closed.
        weakref.finalize(piece, self._give_back, offset, size)
        return np.frombuffer(memoryview(piece), np.uint8)

    def _take(self, size: int) -> int | None:
        with self._lock:
            self._free_returned()
            for index, (offset, free) in enumerate(self._free):
                if free >= size:
                    self._free[index : index + 1] = [(offset + size, free - size)] if free > size else []
                    return offset
        return None

    def _give_back(self, offset: int, size: int) -> None:
        self._returned.append((offset, size))

    def _free_returned(self) -> None:
        while self._returned:
            piece = self._returned.popleft()
            index = bisect.bisect(self._free, piece)
            self._free.insert(index, piece)
            for left in (index, index - 1):
                self._join(left)

    def _join(self, left: int) -> None:
        """Merge the free pieces ``left`` and ``left + 1`` if they touch."""
        if left < 0 or left + 1 >= len(self._free):
            return
        (offset, size), (after, more) = self._free[left : left + 2]
        if offset + size == after:
            self._free[left : left + 2] = [(offset, size + more)]
