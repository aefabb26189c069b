"""Classifies or embeds a clip for every protocol: it is read, admitted, decoded, computed and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engines.linear_heads.head import Head, HeadAnswer
from engines.linear_heads.manifest import ALL
from engines.manifest import Manifest
from server.batching.clip_queue import Priority
from server.clips.clip_reader import ClipReader, Decoding, clip_reader_for
from server.clips.request_fields import ClipRequest, Offered
from server.clips.upload import Upload
from server.errors import InvalidError
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
    """``probabilities``: float32 [labels], in the order of the labels in ``manifest``.

    ``features``: float32 [F], of ``features_identity``, if the bundle has any. ``heads``: the answers of the heads that
    the request asked for.
    """

    request: ClipRequest
    probabilities: npt.NDArray[np.float32]
    manifest: Manifest
    times: ClipTimes
    features: npt.NDArray[np.float32] | None = None
    features_identity: str | None = None
    heads: Mapping[str, HeadAnswer] = field(default_factory=dict)

    @property
    def top_label(self) -> str | None:
        """The best label of the head that was asked for, else of the model itself; None where it has no labels."""
        if named := self.heads.get(self.request.head or ""):
            return named.top_label
        return self.manifest.labels[int(self.probabilities.argmax())] if self.manifest.labels else None


async def classify(service: Service, upload: Upload, terms: Terms, *, embeds: bool = False) -> Classification:
    """Classify the clip in ``upload`` within its deadline; its lease holds its slot and its deployment.

    With ``embeds``, the request is for the features, and no label is counted.

    Raises:
        RequestError: the request is refused, or its deadline passed.
        EngineError: the engine failed on the clip.
    """
    async with until(terms.began_s + terms.deadline_ms / 1e3, terms.deadline_ms):
        deployment = upload.lease.take(service.accepted())
        classification = await _Classifying(service, deployment, terms, embeds).run(upload)
    label = None if embeds else classification.top_label
    service.metrics.answered_request([(classification.times, label)], low_priority=terms.priority == "low")
    return classification


def offered_by(manifest: Manifest, heads: Mapping[str, Head], *, embeds: bool = False) -> Offered:
    """How clips can be answered by the model of ``manifest`` and the ``heads`` that fit it."""
    return Offered(len(manifest.labels), {name: len(head.labels) for name, head in heads.items()}, embeds)


def check_features(manifest: Manifest) -> None:
    """Raises InvalidError when features are asked of a bundle that has none."""
    if not manifest.features:
        raise InvalidError(f"bundle {manifest.name} was exported without features; export the model again to get them")


class _Classifying:
    """The steps of one classification; each step may refuse the clip by raising RequestError."""

    def __init__(self, service: Service, deployment: Deployment, terms: Terms, embeds: bool) -> None:
        self._service = service
        self._deployment = deployment
        self._terms = terms
        self._embeds = embeds
        # Taken once, so that a head that changes or goes meanwhile still answers as it was.
        self._heads = service.heads.fitting(deployment.features_identity)

    async def run(self, upload: Upload) -> Classification:
        service, model = self._service, self._deployment.model
        if self._embeds:
            check_features(model.manifest)
        offered = offered_by(model.manifest, self._heads, embeds=self._embeds)
        reader = clip_reader_for(
            Decoding(upload, model, service.decode_threads, service.settings.max_clip_bytes, offered)
        )
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
        heads = self._answers(request.head, answer.features)
        identity = self._deployment.features_identity
        return Classification(request, answer.probabilities, model.manifest, times, answer.features, identity, heads)

    def _answers(self, asked: str | None, features: npt.NDArray[np.float32] | None) -> dict[str, HeadAnswer]:
        if asked is None or features is None:
            return {}
        names = self._heads if asked == ALL else (asked,)
        return {name: self._heads[name].answer(features) for name in names}

    async def _read(self, reader: ClipReader, upload: Upload) -> None:
        """Read the body, unless the header already shows that the request has to be refused."""
        reader.check()
        if self._terms.priority == "low":
            upload.lease.take(self._service.admission.low_priority())
        self._service.admission.check(upload.announced_bytes)
        await reader.read()

    def _elapsed_ms(self) -> float:
        return (asyncio.get_running_loop().time() - self._terms.began_s) * 1e3
