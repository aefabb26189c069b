"""Which frames a stream has, so that each is sent once although clips overlap."""

from __future__ import annotations

from collections.abc import Sequence

from consumer.client.encodings import Picture

Placed = list[tuple[int, Picture]]
"""Pictures with their ticks: the tick of a picture is its number in the stream."""

# A step back in time begins a new run. Its ticks are far from those of the windows that wait for their answers.
_BACK_TICKS = 1_000_000


class FrameRun:
    """The latest frames that were sent; windows of the service begin every ``stride`` ticks.

    Frames are told apart by their identity: overlapping clips share their pictures. ``_sent`` are the pictures from
    ``_first`` on, the tick at which the next window begins.
    """

    def __init__(self, stride: int) -> None:
        self._stride = stride
        self._first = 0
        self._begin = 0
        self._sent: list[Picture] = []

    def complete(self, pictures: Sequence[Picture]) -> tuple[int, Placed]:
        """The tick of the window of ``pictures``, and those of them that are still to be sent.

        If they do not continue what was sent, for example after a gap, all of them are sent in a new run.
        """
        offset = next(
            (each for each in range(0, len(self._sent) + 1, self._stride) if self._fits(each, pictures)), None
        )
        if offset is None:
            self.restart()
        else:
            self._first += offset
            del self._sent[:offset]
        first, missing = self._first, self._missing(pictures)
        self._first += self._stride
        self._sent = list(pictures[self._stride :])
        return first, missing

    def ahead(self, pictures: Sequence[Picture]) -> Placed:
        """Those of ``pictures``, the first ones of a window that is not complete yet, that are to be sent now."""
        if not self._fits(0, pictures):
            return []
        missing = self._missing(pictures)
        self._sent += [picture for _, picture in missing]
        return missing

    def restart(self) -> None:
        """Begin a new run, because the service has no use for the frames that were sent."""
        self._begin -= _BACK_TICKS
        self._first, self._sent = self._begin, []

    def _fits(self, offset: int, pictures: Sequence[Picture]) -> bool:
        """Whether ``pictures`` continue what was sent from ``offset`` on."""
        rest = self._sent[offset:]
        same = all(sent is picture for sent, picture in zip(rest, pictures, strict=False))
        return same and (bool(rest) or not self._sent)

    def _missing(self, pictures: Sequence[Picture]) -> Placed:
        return [(self._first + index, pictures[index]) for index in range(len(self._sent), len(pictures))]
