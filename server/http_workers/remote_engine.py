"""The engine as an HTTP worker has it: memory to decode clips into, and a line to where it runs."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from engines.clip import Clip
from engines.engine import Engine, Inference
from engines.manifest import Manifest, Precision
from server.admission import Admission
from server.clip_queue import Classified, Priority
from server.http_workers.engine_link import EngineLink
from server.http_workers.messages import Deploy, Retired, Submit
from server.http_workers.segment import Segment
from server.http_workers.slots import Slots


class RemoteEngine:
    """An ``Engine`` whose clips lie where the engine process reads them, and are classified by ``RemoteBatcher``."""

    def __init__(self, deploy: Deploy, slots: Slots) -> None:
        self._deploy = deploy
        self._slots = slots

    @property
    def manifest(self) -> Manifest:
        return self._deploy.manifest

    @property
    def device_name(self) -> str:
        return self._deploy.device_name

    @property
    def precision(self) -> Precision:
        return self._deploy.precision

    @property
    def lanes(self) -> int:
        """The batcher's, which is in the other process too."""
        return 1

    def allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """Shared memory, of which half is left for clips that are complete: some of these will come slowly, or never.

        While there is less, ordinary memory does too, and the clip is copied once it is complete.
        """
        shape = (self.manifest.frames, height, width, 3)
        place = self._slots.allocate(math.prod(shape), spare_bytes=self._slots.size_bytes // 2)
        return np.empty(shape, np.uint8) if place is None else place.reshape(shape)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        raise NotImplementedError("the engine is in another process; its RemoteBatcher classifies")

    def close(self) -> None:
        """Its memory is the segment's, and the engine the other process's."""


class RemoteBatcher:
    """A ``Classifier`` in front of the batcher that all workers share."""

    def __init__(self, generation: int, segment: Segment, slots: Slots, admission: Admission, link: EngineLink) -> None:
        self._generation = generation
        self._segment = segment
        self._slots = slots
        self._admission = admission
        self._link = link

    @property
    def waiting(self) -> int:
        """Known where the queue is."""
        return 0

    @property
    def engines_serving(self) -> int:
        """Known where the engines are, as are those that were lost."""
        return 0

    @property
    def engines_lost(self) -> int:
        return 0

    async def classify(self, clip: Clip, deadline_s: float, priority: Priority = "normal") -> Classified:
        """See ``Batcher.classify``; raises OverloadedError when there is no place for the clip in the shared memory."""
        placed, offset = await self._placed(clip)
        submit = functools.partial(_submitted, self._generation, offset, placed, deadline_s, priority)
        return await self._link.classify(placed, submit)

    async def stop(self, timeout_s: float) -> list[Engine]:
        """Nobody uses it any more."""
        self._link.send(Retired(self._generation))
        return []

    async def _placed(self, clip: Clip) -> tuple[Clip, int]:
        """In the shared memory, and where."""
        offset = self._segment.offset_of(clip.frames)
        return (clip, offset) if offset is not None else await asyncio.to_thread(self._copied, clip)

    def _copied(self, clip: Clip) -> tuple[Clip, int]:
        place = self._slots.allocate(clip.frames.nbytes)
        offset = None if place is None else self._segment.offset_of(place)
        if place is None or offset is None:
            raise self._admission.overloaded(f"there is no place for a clip of {clip.frames.nbytes} bytes")
        frames = place.reshape(clip.frames.shape)
        np.copyto(frames, clip.frames)
        return Clip(frames, clip.pixel_format), offset


def _submitted(generation: int, offset: int, clip: Clip, deadline_s: float, priority: Priority, number: int) -> Submit:
    shape = cast(tuple[int, int, int, int], clip.frames.shape)
    return Submit(number, generation, offset, shape, clip.pixel_format, deadline_s, priority)
