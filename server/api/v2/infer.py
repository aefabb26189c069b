"""``POST /v2/models/MODEL/infer``: classifies the clips of a tensor."""

from __future__ import annotations

import msgspec
from aiohttp import hdrs, web

from engines.manifest import Manifest
from server.api.answers import TimingsMs
from server.api.v2.answers import InferResponse, ResponseTensor
from server.api.v2.model import VERSION, model_of
from server.api.v2.outputs import Tensor, classes_of, tensor_of
from server.api.v2.requested import Requested, check_room, requested_outputs, terms_of
from server.api.v2.shared_memory import region_finder
from server.clips.clip_reader import Decoding
from server.clips.infer_request import JSON, OCTET_STREAM
from server.clips.lease import Lease
from server.clips.tensors.tensor_reader import HEAD_LENGTH_HEADER, Asked, TensorReader
from server.errors import InvalidError, UnsupportedMediaError, shown
from server.http.context import FIRST_BYTE_S, LOG_FIELDS, SERVICE
from server.http.deadline import asked_deadline_ms, asked_priority
from server.http.request_body import RequestBody
from server.serving.classify import Terms
from server.serving.classify_batch import BatchClassification, classify_batch

_MOST_DIGITS = 18


async def infer(request: web.Request) -> web.Response:
    """Classify the clips in the body within the deadline of the request."""
    with Lease() as lease:
        return await _Inference(request, lease).run()


class _Inference:
    """One request, from its header to its answer; ``lease`` holds what it uses until then."""

    def __init__(self, request: web.Request, lease: Lease) -> None:
        self._request = request
        self._service = request.app[SERVICE]
        self._lease = lease
        self._find_region = region_finder(request)
        self._terms = Terms(
            began_s=request[FIRST_BYTE_S],
            deadline_ms=asked_deadline_ms(request.headers, self._service.settings.deadline_ms),
            priority=asked_priority(request.headers),
        )
        self._model = model_of(request)
        request[LOG_FIELDS]["model"] = self._model.name
        self._asked: Asked | None = None
        self._outputs: list[Requested] = []

    async def run(self) -> web.Response:
        service, settings = self._service, self._service.settings
        memory = self._lease.take(service.admission.request_memory())
        threads = service.decode_threads
        body = RequestBody(
            self._request, settings.max_body_bytes, settings.body_timeout_s, memory, self._lease, threads
        )
        return self._response(
            await classify_batch(service, self._model, body, self._terms, self._reader, lambda: self._terms)
        )

    def _reader(self, decoding: Decoding) -> TensorReader:
        manifest = decoding.model.manifest
        _check_type(self._request)
        most_clips = min(manifest.max_batch, self._service.settings.queue_size)

        def check(asked: Asked) -> None:
            self._terms = terms_of(asked.parameters, self._terms)
            self._outputs = requested_outputs(asked, manifest, self._find_region, self._lease)
            self._asked = asked

        return TensorReader(decoding, most_clips, _head_bytes(self._request), self._find_region, check)

    def _response(self, batch: BatchClassification) -> web.Response:
        asked_id = self._asked.id if self._asked else None
        tensors, binary = [], []
        for requested in self._outputs:
            tensor = _tensor(requested, batch)
            told = ResponseTensor(tensor.name, tensor.datatype, tensor.shape)
            if requested.region is not None:
                told.parameters = _written(requested, tensor)
            elif requested.binary:
                binary.append(tensor.binary())
                told.parameters = {"binary_data_size": len(binary[-1])}
            else:
                told.data = tensor.json()
            tensors.append(told)
        head = msgspec.json.encode(InferResponse(self._model.protocol_name, VERSION, tensors, asked_id or None))
        response = web.Response(body=b"".join([head, *binary]), content_type=OCTET_STREAM if binary else JSON)
        if binary:
            response.headers[HEAD_LENGTH_HEADER] = str(len(head))
        self._tell_times(response, batch)
        return response

    def _tell_times(self, response: web.Response, batch: BatchClassification) -> None:
        times = max((answer.times for answer in batch.answers), key=lambda one: one.queue_ms + one.infer_ms)
        self._request[LOG_FIELDS] |= {
            "clips": len(batch.answers),
            "top": _top(batch, batch.manifest),
            "timings_ms": dict(times.phases()),
        }
        phases = msgspec.structs.asdict(TimingsMs.of(times))
        response.headers["Server-Timing"] = ", ".join(f"{phase};dur={ms}" for phase, ms in phases.items())


def _top(batch: BatchClassification, manifest: Manifest) -> str:
    return manifest.labels[int(batch.answers[0].probabilities.argmax())]


def _tensor(requested: Requested, batch: BatchClassification) -> Tensor:
    if requested.classes:
        return classes_of(requested.output, batch.answers, batch.manifest.labels, requested.classes)
    return tensor_of(requested.output, batch.answers)


def _written(requested: Requested, tensor: Tensor) -> dict[str, str | int]:
    """Write ``tensor`` into its region, and return the parameters that say where it is."""
    region, data = requested.region, tensor.binary()
    if region is None:
        raise RuntimeError("the output goes to no region")
    check_room(requested.output, len(data), requested.byte_size)
    region.write(requested.offset, data)
    return {
        "shared_memory_region": region.name,
        "shared_memory_offset": requested.offset,
        "shared_memory_byte_size": len(data),
    }


def _check_type(request: web.Request) -> None:
    kind = request.headers.get(hdrs.CONTENT_TYPE, JSON).partition(";")[0].strip().lower()
    if kind not in (JSON, OCTET_STREAM):
        raise UnsupportedMediaError(
            f"Content-Type is {shown(kind)}; accepted: {JSON}, {OCTET_STREAM}", field="Content-Type"
        )


def _head_bytes(request: web.Request) -> int | None:
    """The length of the JSON by the header, None for the whole body; raises InvalidError."""
    text = request.headers.get(HEAD_LENGTH_HEADER)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS and int(text)):
        raise InvalidError(
            f"{HEAD_LENGTH_HEADER} is {shown(text)!r}; accepted: the length of the JSON in bytes",
            field=HEAD_LENGTH_HEADER,
        )
    return int(text)
