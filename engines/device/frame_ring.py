"""Frames of streams on the device: each is copied there once, and a batch gathers its clips by index."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from engines.clip import Clip, FrameKey

_KeyRef = weakref.ref[FrameKey]


@dataclass(slots=True)
class _Slot:
    """A place in the ring; ``filled``: the device has finished to copy the frame."""

    index: int
    filled: bool = False


class FrameRing:
    """Ready crops on the device, uint8 [slots, crop, crop, 3] ``pixels``, for all lanes of an engine.

    A frame has its slot as long as its key lives. A frame for which no slot is free is copied with each of its clips.

    Invariants: ``_lock`` protects all but ``_gone``. A slot is in ``_free``, or of one key in ``_slots``, or of a lane
    whose batch has failed. Until it is filled, only the lane that claimed it uses it. ``_gone`` gets the keys that
    nobody holds any more, from any thread, even from one that has the lock.
    """

    def __init__(self, ring_bytes: int, crop: int, device: torch.device) -> None:
        """Take as many slots as fit into ``ring_bytes`` of the device's memory."""
        count = ring_bytes // (3 * crop**2)
        self.pixels = torch.empty((count, crop, crop, 3), dtype=torch.uint8, device=device)
        self._lock = threading.Lock()
        self._free = list(range(count))
        self._slots: dict[_KeyRef, _Slot] = {}
        self._gone: deque[_KeyRef] = deque()

    def takes(self, clip: Clip) -> bool:
        """Whether the frames of ``clip`` can lie in the ring."""
        return bool(clip.keys and len(self.pixels)) and clip.frames.shape[1:] == self.pixels.shape[1:]

    def claim(self, keys: Sequence[FrameKey]) -> tuple[list[int | None], dict[int, _KeyRef]]:
        """Where the frames lie, None for those that do not, and the numbers of those that the caller must fill."""
        with self._lock:
            self._free_slots_of_gone()
            places: list[int | None] = []
            claimed: dict[int, _KeyRef] = {}
            for number, key in enumerate(keys):
                slot = self._slots.get(weakref.ref(key))
                if slot is None and self._free:
                    reference = weakref.ref(key, self._gone.append)
                    slot = self._slots[reference] = _Slot(self._free.pop())
                    claimed[number] = reference
                there = slot is not None and (slot.filled or number in claimed)
                places.append(slot.index if slot is not None and there else None)
            return places, claimed

    def fill(self, references: Sequence[_KeyRef]) -> None:
        """The device has finished to copy these frames."""
        with self._lock:
            for reference in references:
                if (slot := self._slots.get(reference)) is not None:
                    slot.filled = True

    def withdraw(self, references: Sequence[_KeyRef]) -> list[int]:
        """Take these frames out, because their batch failed; return their slots, which the device may still fill."""
        with self._lock:
            slots = [self._slots.pop(reference, None) for reference in references]
            return [slot.index for slot in slots if slot is not None]

    def give_back(self, indices: Sequence[int]) -> None:
        """The device has finished with slots that were withdrawn."""
        with self._lock:
            self._free += indices

    def _free_slots_of_gone(self) -> None:
        while self._gone:
            if (slot := self._slots.pop(self._gone.popleft(), None)) is not None:
                self._free.append(slot.index)


class LaneFrames:
    """Gathers the clips of one lane's batches from the ring.

    Invariant: used by the thread that has the lane. The clips of a batch, and so their keys, live until its end, so
    that no slot is taken away from a batch that runs.
    """

    def __init__(self, ring: FrameRing, most_clips: int, frames: int, *, pinned: bool) -> None:
        self._ring = ring
        self._places = torch.zeros((most_clips, frames), dtype=torch.int64, pin_memory=pinned)
        self._indices = torch.zeros((most_clips, frames), dtype=torch.int64, device=ring.pixels.device)
        self._gathered = 0
        self._claimed: list[_KeyRef] = []
        self._withdrawn: list[int] = []

    def copy(self, clip: Clip, out: torch.Tensor) -> None:
        """Queue on the current stream what fills ``out`` on the device with the frames of ``clip``."""
        pixels = torch.from_numpy(clip.frames)
        places: list[int | None] = []
        if self._ring.takes(clip):
            places, claimed = self._ring.claim(clip.keys)
            self._claimed += claimed.values()
            for number in claimed:
                self._ring.pixels[places[number]].copy_(pixels[number], non_blocking=True)
        if all(place is None for place in places):
            out.copy_(pixels, non_blocking=True)
            return
        self._gather(places, out)
        for number, place in enumerate(places):
            if place is None:
                out[number].copy_(pixels[number], non_blocking=True)

    def finished(self) -> None:
        """The device has finished all that was queued, also for batches before that failed."""
        self._ring.fill(self._claimed)
        self._ring.give_back(self._withdrawn)
        self._gathered, self._claimed, self._withdrawn = 0, [], []

    def failed(self) -> None:
        """The batch has failed, and nobody knows what the device has done of it."""
        self._withdrawn += self._ring.withdraw(self._claimed)
        self._gathered, self._claimed = 0, []

    def _gather(self, places: Sequence[int | None], out: torch.Tensor) -> None:
        row, self._gathered = self._gathered, self._gathered + 1
        # Frames that have no place are copied over what is gathered for them.
        self._places[row] = torch.tensor([place or 0 for place in places])
        self._indices[row].copy_(self._places[row], non_blocking=True)
        torch.index_select(self._ring.pixels, 0, self._indices[row], out=out)
