"""Classifies a clip for every protocol: the clip is read, admitted, decoded, classified and counted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.manifest import Manifest
from server.batching.clip_queue import Priority
from server.clips.clip_reader import ClipReader, Decoding, clip_reader_for
from server.clips.request_fields import ClipRequest
from server.clips.upload import Upload
from server.serving.deadline import until
from server.serving.deployment import Deployment
from server.serving.service import Service
from server.telemetry.phases import ClipTimes


@dataclass(frozen=True, slots=True)
class Terms:
    """When the request began (``began_s``, by the event loop's clock), its deadline after that, and its priority."""

    began_s: float
    deadline_ms: int
    priority: Priority = "normal"


@dataclass(frozen=True, slots=True)
class Classification:
    """``probabilities``: float32 [labels], in the order of the labels in ``manifest``."""

    request: ClipRequest
    probabilities: npt.NDArray[np.float32]
    manifest: Manifest
    times: ClipTimes

    @property
    def top_label(self) -> str:
        return self.manifest.labels[int(self.probabilities.argmax())]


async def classify(service: Service, upload: Upload, terms: Terms) -> Classification:
    """Classify the clip in ``upload`` within its deadline; its lease holds its slot and its deployment.

    Raises:
        RequestError: the request is refused, or its deadline passed.
        EngineError: the engine failed on the clip.
    """
    async with until(terms.began_s + terms.deadline_ms / 1e3, terms.deadline_ms):
        deployment = upload.lease.take(service.accepted())
        classification = await _Classifying(service, deployment, terms).run(upload)
    # Their waiting is intended, so that it must not look like that of live clips.
    times = None if terms.priority == "low" else classification.times
    service.metrics.answered_request(times, classification.top_label)
    return classification


class _Classifying:
    """The steps of one classification; each step may refuse the clip by raising RequestError."""

    def __init__(self, service: Service, deployment: Deployment, terms: Terms) -> None:
        self._service = service
        self._deployment = deployment
        self._terms = terms

    async def run(self, upload: Upload) -> Classification:
        service, model = self._service, self._deployment.model
        reader = clip_reader_for(Decoding(upload, model, service.decode_threads, service.settings.max_clip_bytes))
        await self._read(reader, upload)
        read_ms = self._elapsed_ms()
        upload.lease.take(service.admission.slot())
        request, clip = await reader.decode()
        decode_ms = self._elapsed_ms() - read_ms
        deadline_s = self._terms.began_s + self._terms.deadline_ms / 1e3
        with service.metrics.statistics.failing(self._elapsed_ms):
            answer = await self._deployment.batcher.classify(clip, deadline_s, self._terms.priority)
        service.recent_clips.keep(clip)
        times = answer.times
        times.read_ms, times.decode_ms, times.total_ms = read_ms, decode_ms, self._elapsed_ms()
        return Classification(request, answer.probabilities, model.manifest, times)

    async def _read(self, reader: ClipReader, upload: Upload) -> None:
        """Read the body, unless the header already shows that the request has to be refused."""
        reader.check()
        if self._terms.priority == "low":
            upload.lease.take(self._service.admission.low_priority())
        self._service.admission.check(upload.announced_bytes)
        await reader.read()

    def _elapsed_ms(self) -> float:
        return (asyncio.get_running_loop().time() - self._terms.began_s) * 1e3
