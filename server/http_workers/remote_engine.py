"""The engine as an HTTP worker has it: memory to decode clips into, and a line to where it runs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from engines.clip import Clip
from engines.engine import Inference
from engines.errors import OverloadedError, TooLargeError
from engines.manifest import Manifest, Precision
from server.admission import Admission
from server.clip_queue import Classified, Priority
from server.http_workers.engine_link import EngineLink
from server.http_workers.messages import Deploy, Retired, Submit
from server.http_workers.segment import Segment
from server.http_workers.slots import Slots
from server.service_rate import ServiceRate


class RemoteEngine:
    """An ``Engine`` whose clips lie where the engine process reads them, and are classified by ``RemoteBatcher``."""

    def __init__(self, deploy: Deploy, slots: Slots, rate: ServiceRate, admission: Admission) -> None:
        self._deploy = deploy
        self._slots = slots
        self._rate = rate
        self._admission = admission

    @property
    def manifest(self) -> Manifest:
        return self._deploy.manifest

    @property
    def device_name(self) -> str:
        return self._deploy.device_name

    @property
    def precision(self) -> Precision:
        return self._deploy.precision

    def allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """As every engine's; raises OverloadedError when the shared memory is full, TooLargeError beyond its size."""
        shape = (self.manifest.frames, height, width, 3)
        count_bytes = self.manifest.frames * height * width * 3
        if count_bytes > self._slots.size_bytes:
            raise TooLargeError(
                f"a clip of {width} x {height} pixels has {count_bytes} bytes; all clips share {self._slots.size_bytes}"
            )
        place = self._slots.allocate(count_bytes)
        if place is None:
            retry_after_s = self._rate.retry_after_s(self._admission.clips)
            raise OverloadedError(f"no place for a clip of {count_bytes} bytes", retry_after_s=retry_after_s)
        return place.reshape(shape)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        raise NotImplementedError("the engine is in another process; its RemoteBatcher classifies")

    def close(self) -> None:
        """Its memory is the segment's, and the engine the other process's."""


class RemoteBatcher:
    """A ``Classifier`` in front of the batcher that all workers share."""

    def __init__(self, generation: int, segment: Segment, link: EngineLink) -> None:
        self._generation = generation
        self._segment = segment
        self._link = link

    @property
    def waiting(self) -> int:
        """Known where the queue is."""
        return 0

    async def classify(self, clip: Clip, deadline_s: float, priority: Priority = "normal") -> Classified:
        """See ``Batcher.classify``; ``clip`` has to lie in the shared memory."""
        submit = functools.partial(_submitted, self._generation, self._segment.offset_of(clip.frames), clip)
        try:
            return await self._link.classify(clip, functools.partial(submit, deadline_s, priority))
        finally:
            # An error's traceback holds this frame.
            del clip, submit

    async def stop(self, timeout_s: float) -> bool:
        """Nobody uses it any more."""
        self._link.send(Retired(self._generation))
        return True


def _submitted(generation: int, offset: int, clip: Clip, deadline_s: float, priority: Priority, number: int) -> Submit:
    shape = cast(tuple[int, int, int, int], clip.frames.shape)
    return Submit(number, generation, offset, shape, clip.pixel_format, deadline_s, priority)
