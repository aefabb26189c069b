"""Classifies or embeds a clip for every protocol: it is read, admitted, decoded, computed and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
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
from server.serving.models.choice import may_name_model, model_in_body, model_in_query
from server.serving.models.served_model import ServedModel
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


async def classify(
    service: Service, upload: Upload, terms: Terms, tell_model: Callable[[ServedModel], None], *, embeds: bool = False
) -> Classification:
    """Classify the clip in ``upload`` within its deadline; its lease holds its slot and its deployment.

    ``tell_model`` is told for which model it is, as soon as that is known. With ``embeds``, the request is for the
    features, and no label is counted.

    Raises:
        RequestError: the request is refused, or its deadline passed.
        EngineError: the engine failed on the clip.
    """
    async with until(terms.began_s + terms.deadline_ms / 1e3, terms.deadline_ms):
        model, read_before = await _chosen(service, upload)
        tell_model(model)
        deployment = upload.lease.take(service.accepted(model, begun=bool(read_before)))
        classification = await _Classifying(service, model, deployment, terms, embeds).run(upload, read_before)
    label = None if embeds else classification.top_label
    model.metrics.answered_request([(classification.times, label)], low_priority=terms.priority == "low")
    return classification


async def _chosen(service: Service, upload: Upload) -> tuple[ServedModel, list[bytearray]]:
    """The model that the clip is for; and the body, if it had to be read to know that, else nothing."""
    service.check_accepting()
    named = model_in_query(upload)
    if named is not None or not (service.models.are_several and may_name_model(upload)):
        return service.models.asked(named), []
    upload.lease.take(service.undecided())
    upload.check_length()
    service.admission.check(upload.announced_bytes)
    body = [await upload.read()]
    named = await service.decode_threads.run(model_in_body, upload, body[0], lease=upload.lease)
    return service.models.asked(named), body


def offered_by(
    manifest: Manifest, heads: Mapping[str, Head], *, embeds: bool = False, names: Sequence[str] = ()
) -> Offered:
    """How clips can be answered by the model of ``manifest``, which has ``names``, and the ``heads`` that fit it."""
    return Offered(len(manifest.labels), {name: len(head.labels) for name, head in heads.items()}, embeds, names)


def check_features(manifest: Manifest) -> None:
    """Raises InvalidError when features are asked of a bundle that has none."""
    if not manifest.features:
        raise InvalidError(f"bundle {manifest.name} was exported without features; export the model again to get them")


class _Classifying:
    """The steps of one classification; each step may refuse the clip by raising RequestError."""

    def __init__(
        self, service: Service, served: ServedModel, deployment: Deployment, terms: Terms, embeds: bool
    ) -> None:
        self._service, self._served = service, served
        self._deployment = deployment
        self._terms = terms
        self._embeds = embeds
        # Taken once, so that a head that changes or goes meanwhile still answers as it was.
        self._heads = service.heads.fitting(deployment.features_identity)

    async def run(self, upload: Upload, read_before: list[bytearray]) -> Classification:
        """``read_before``: the body of ``upload``, if it has been read; it is taken out."""
        service, served, model = self._service, self._served, self._deployment.model
        if self._embeds:
            check_features(model.manifest)
        names = (served.protocol_name, served.name)
        offered = offered_by(model.manifest, self._heads, embeds=self._embeds, names=names)
        reader = clip_reader_for(
            Decoding(upload, model, service.decode_threads, service.settings.max_clip_bytes, offered, read_before)
        )
        await self._read(reader, upload, 0 if read_before else upload.announced_bytes)
        read_ms = self._elapsed_ms()
        upload.lease.take(service.admission.slot(served.slots))
        request, clip = await reader.decode()
        decode_ms = self._elapsed_ms() - read_ms
        deadline_s = self._terms.began_s + self._terms.deadline_ms / 1e3
        with served.metrics.statistics.failing(self._elapsed_ms):
            answer = await self._deployment.batcher.classify(clip, deadline_s, self._terms.priority)
        served.recent_clips.keep(clip)
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

    async def _read(self, reader: ClipReader, upload: Upload, awaited_bytes: int) -> None:
        """Read the body, unless the header already shows that the request has to be refused."""
        reader.check()
        if self._terms.priority == "low":
            upload.lease.take(self._service.admission.low_priority())
        self._service.admission.check(awaited_bytes, self._served.slots)
        await reader.read()

    def _elapsed_ms(self) -> float:
        return (asyncio.get_running_loop().time() - self._terms.began_s) * 1e3
