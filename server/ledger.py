"""What is held of requests at the moment: by this process, and by all that serve together."""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt

MOST_PROCESSES = 256


class Figure(enum.IntEnum):
    """``CLIPS`` have a place, ``SOON`` are bodies that will take one in a moment, ``BYTES`` are bodies and pixels."""

    CLIPS = 0
    SOON = 1
    BYTES = 2


class Ledger:
    """Of a process that serves alone."""

    def __init__(self) -> None:
        self._own = [0] * len(Figure)

    def __getitem__(self, figure: Figure) -> int:
        return self._own[figure]

    def __setitem__(self, figure: Figure, value: int) -> None:
        self._own[figure] = value

    def total(self, figure: Figure) -> int:
        """Of all processes together."""
        return self._own[figure]


class SharedLedger(Ledger):
    """One column for each process: it alone writes it, all read it, so that none needs a lock that a dead one keeps.

    Whoever adds to its own figure first and looks at the total then never goes beyond a bound together with others.
    """

    def __init__(self, figures: npt.NDArray[np.int64], column: int) -> None:
        """``figures``: int64 [len(Figure), MOST_PROCESSES] in memory that all processes share."""
        super().__init__()
        self._figures, self._column = figures, column

    def __getitem__(self, figure: Figure) -> int:
        return int(self._figures[figure, self._column])

    def __setitem__(self, figure: Figure, value: int) -> None:
        self._figures[figure, self._column] = value

    def total(self, figure: Figure) -> int:
        return int(self._figures[figure].sum())
