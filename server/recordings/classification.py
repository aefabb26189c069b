"""Classifies the windows of a video file behind live clips, and tells the segments at its end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from archive.decoding.process import DecodedWindow
from archive.segments import Segment, segments
from archive.video import WindowScores
from engines.clip import Clip
from engines.linear_heads.head import Head
from engines.linear_heads.manifest import ALL
from server.batching.clip_queue import Classified
from server.clips.lease import Lease
from server.clips.request_fields import checked_top_k
from server.errors import InvalidError, NotReadyError, OverloadedError
from server.recordings.reader import held_bytes, read_windows
from server.recordings.request import RecordingRequest
from server.serving.classify import offered_by
from server.serving.models.served_model import ServedModel
from server.serving.service import Service

NAME = "the video"
# The queue is full of live clips; there is no hurry.
_LONGEST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class WindowFound:
    """``probabilities``: float32 [labels], of the time from ``start_s`` to ``end_s`` (excluded)."""

    start_s: float
    end_s: float
    probabilities: npt.NDArray[np.float32]


class RecordingClassification:
    """One video file and its answers, by the deployment and the head that were in service when it came."""

    def __init__(self, service: Service, served: ServedModel, asked: RecordingRequest, lease: Lease) -> None:
        """``lease`` holds the deployment and a place of low priority.

        Raises:
            InvalidError: the request names no head that fits, or asks for more predictions than there are labels.
            RetryLaterError: the service is not ready, or has too many requests of low priority.
        """
        self.service, self.served, self.asked, self.lease = service, served, asked, lease
        self.windows: list[WindowScores] = []
        self._deployment = lease.take(service.accepted(served))
        lease.take(service.admission.low_priority())
        manifest = self._deployment.model.manifest
        heads = service.heads.fitting(self._deployment.features_identity)
        if asked.head == ALL:
            raise InvalidError(f"head is {ALL!r}; a video is labelled by one head", field="head")
        self.top_k = checked_top_k(asked.top_k, offered_by(manifest, heads).labels_of(asked.head))
        self._head: Head | None = heads[asked.head] if asked.head else None
        self.labels: Sequence[str] = self._head.labels if self._head else manifest.labels

    async def run(self, path: Path, cpu_s: int) -> AsyncGenerator[WindowFound]:
        """Yield the windows of the video in ``path`` as they are classified.

        Raises:
            UnreadableError: the video cannot be read, or not to its end.
            NotReadyError: the service stops.
            EngineError: the engine failed on a window.
        """
        model = self._deployment.model
        memory = self.lease.take(self.service.admission.request_memory())
        memory.add(held_bytes(model))
        job = self.asked.sampling.job(str(path), NAME, model.manifest)
        async with aclosing(read_windows(path, job, model, cpu_s)) as windows:
            async for window in windows:
                if self.service.draining.is_set():
                    raise NotReadyError("the service stops; send the video again", retry_after_s=1)
                yield self._found(window, await self._classified(window))

    def segments(self) -> list[Segment]:
        """The segments of all windows so far."""
        return segments(self.windows, self.labels)

    def _found(self, window: DecodedWindow, answer: Classified) -> WindowFound:
        probabilities = answer.probabilities
        if self._head is not None:
            if answer.features is None:
                raise AssertionError("a bundle with features gave none")
            probabilities = self._head.answer(answer.features).probabilities
        times = window.start_s, window.end_s
        self.windows.append(WindowScores(*times, probabilities, window.changes, window.of_s))
        label = self.labels[int(probabilities.argmax())]
        self.served.metrics.answered_request([(answer.times, label)], low_priority=True)
        return WindowFound(*times, probabilities)

    async def _classified(self, window: DecodedWindow) -> Classified:
        clip = Clip(window.frames, "RGB", cropped=True)
        while True:
            try:
                with self.service.admission.slot(self.served.slots):
                    return await self._deployment.batcher.classify(clip, math.inf, "low")
            except OverloadedError as error:
                await asyncio.sleep(min(error.retry_after_s, _LONGEST_PAUSE_S))
