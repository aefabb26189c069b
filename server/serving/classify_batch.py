"""Classifies all clips of one request together: all of them are admitted and answered, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from engines.clip import Clip
from engines.manifest import Manifest
from server.batching.batcher import Batcher
from server.batching.clip_queue import Classified
from server.clips.clip_reader import Decoding
from server.clips.request_fields import Offered
from server.clips.upload import Upload
from server.errors import InvalidError
from server.serving.classify import Terms
from server.serving.deadline import until
from server.serving.models.served_model import ServedModel
from server.serving.service import Service


class BatchReader(Protocol):
    """A body that is to become clips: ``check``, ``read`` and ``decode`` are each called once, in this order."""

    def check(self) -> None:
        """Raises RequestError for what is wrong by the header alone."""
        ...

    async def read(self) -> None:
        """Read the body; raises RequestError."""
        ...

    @property
    def clips(self) -> int:
        """The number of clips; known after ``read``."""
        ...

    async def decode(self) -> list[Clip]:
        """Return the clips, and free everything else. Raises RequestError."""
        ...


@dataclass(frozen=True, slots=True)
class BatchClassification:
    """The answer for each clip in its order; the first times are those of the request until its clips were decoded."""

    answers: Sequence[Classified]
    manifest: Manifest


# Makes the reader of a body for the model in service; raises RequestError.
ReaderFor = Callable[[Decoding], BatchReader]
# The terms of a request that has been read, which may be told in its body; raises RequestError.
TermsOf = Callable[[], Terms]


async def classify_batch(
    service: Service, served: ServedModel, upload: Upload, terms: Terms, reader_for: ReaderFor, terms_of: TermsOf
) -> BatchClassification:
    """Classify the clips in ``upload`` with ``served``, each as a clip of its own in the queue.

    ``terms`` hold until the body has been read, those of ``terms_of`` after that.

    Raises:
        RequestError: the request is refused, or its deadline passed.
        EngineError: the engine failed on one of the clips.
    """
    async with until(terms.began_s + terms.deadline_ms / 1e3, terms.deadline_ms):
        deployment = upload.lease.take(service.accepted(served))
        settings = service.settings
        labels = len(deployment.model.manifest.labels)
        if not labels:
            raise InvalidError(
                "this model has no labels of its own, so tensors cannot be classified; use /api/v1/embed"
            )
        model, offered = deployment.model, Offered(labels)
        reader = reader_for(Decoding(upload, model, service.decode_threads, settings.max_clip_bytes, offered))
        reader.check()
        service.admission.check(upload.announced_bytes, served.slots)
        await reader.read()
    read_ms, terms = _elapsed_ms(terms), terms_of()
    deadline_s = terms.began_s + terms.deadline_ms / 1e3
    async with until(deadline_s, terms.deadline_ms):
        if terms.priority == "low":
            for _ in range(reader.clips):
                upload.lease.take(service.admission.low_priority())
        upload.lease.take(service.admission.slot(served.slots, reader.clips))
        clips = await reader.decode()
        decode_ms = _elapsed_ms(terms) - read_ms
        with served.metrics.statistics.failing(lambda: _elapsed_ms(terms)):
            answers = await _answered(deployment.batcher, clips, deadline_s, terms)
    for clip, answer in zip(clips, answers, strict=True):
        served.recent_clips.keep(clip)
        times = answer.times
        times.read_ms, times.decode_ms, times.total_ms = read_ms, decode_ms, _elapsed_ms(terms)
    batch = BatchClassification(answers, deployment.model.manifest)
    _count(served, batch, terms)
    return batch


async def _answered(batcher: Batcher, clips: list[Clip], deadline_s: float, terms: Terms) -> list[Classified]:
    """The answers for ``clips``, which wait in the queue in this order; the first that fails ends the others."""
    if len(clips) == 1:
        return [await batcher.classify(clips[0], deadline_s, terms.priority)]
    calls = [asyncio.create_task(batcher.classify(clip, deadline_s, terms.priority)) for clip in clips]
    try:
        return await asyncio.gather(*calls)
    finally:
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)


def _count(served: ServedModel, batch: BatchClassification, terms: Terms) -> None:
    labels = batch.manifest.labels
    clips = [(answer.times, labels[int(answer.probabilities.argmax())]) for answer in batch.answers]
    served.metrics.answered_request(clips, low_priority=terms.priority == "low")


def _elapsed_ms(terms: Terms) -> float:
    return (asyncio.get_running_loop().time() - terms.began_s) * 1e3
