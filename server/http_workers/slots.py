"""Places for clips in the shared memory."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from server.http_workers.segment import GRANULE_BYTES, Segment


class Slots:
    """One process's places: it takes them among the others, and gives them back when nothing looks at them any more.

    The map of who has which granule is the whole state, so that a process may end at any moment: its granules bear its
    number, and whoever is left forgets them.
    """

    def __init__(self, segment: Segment, owner: int) -> None:
        """``owner``: 1 to 255, of this process alone."""
        self._segment = segment
        self._owner = owner
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        return len(self._segment.frames)

    def allocate(self, count_bytes: int, spare_bytes: int = 0) -> npt.NDArray[np.uint8] | None:
        """Uninitialised uint8 [count_bytes]; callable from any thread.

        None when no free place is large enough now, or less than ``spare_bytes`` would remain for others.
        """
        granules = -(-count_bytes // GRANULE_BYTES)
        with self._locked():
            owners = self._segment.owners.tobytes()
            first = owners.find(bytes(granules))
            if first < 0 or (owners.count(0) - granules) * GRANULE_BYTES < spare_bytes:
                return None
            self._segment.owners[first : first + granules] = self._owner
        give_back = functools.partial(self._give_back, first, granules)
        return self._segment.view(first * GRANULE_BYTES, count_bytes, give_back)

    def _give_back(self, first: int, granules: int) -> None:
        # Without the lock: nobody else writes these cells, and who looks for free ones may as well miss them.
        self._segment.owners[first : first + granules] = 0

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Among the threads of this process, and then among the processes, where the system unlocks for a dead one.

        Not ``flock``: its locks belong to the open file, which the processes have in common.
        """
        with self._lock:
            fcntl.lockf(self._segment.fd, fcntl.LOCK_EX, 1)
            try:
                yield
            finally:
                fcntl.lockf(self._segment.fd, fcntl.LOCK_UN, 1)
