"""The types of the answers of the Open Inference Protocol; their docstrings are part of the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta


class ServerLive(msgspec.Struct):
    """The process is alive."""

    live: bool


class ServerReady(msgspec.Struct):
    """The service accepts requests."""

    live: bool
    ready: bool


class ServerMetadata(msgspec.Struct):
    """The service and the extensions of the protocol that it has."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(msgspec.Struct):
    """An input or an output; -1 stands for any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct):
    """A model in service; ``platform`` is the runtime of its engine."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(msgspec.Struct):
    """The model accepts requests."""

    name: str
    ready: bool


class TensorConfig(msgspec.Struct):
    """An input or an output without the dimension of the batch."""

    name: str
    data_type: str
    dims: list[int]
    format: str = "FORMAT_NONE"


class PriorityQueue(msgspec.Struct):
    """How clips wait: 1 is the highest priority."""

    preferred_batch_size: list[int]
    max_queue_delay_microseconds: int
    priority_levels: int
    default_priority_level: int


class ModelConfig(msgspec.Struct):
    """The configuration of the model in the terms of ``config.pbtxt``."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[TensorConfig]
    output: list[TensorConfig]
    dynamic_batching: PriorityQueue
    model_transaction_policy: dict[str, bool]
    parameters: Annotated[dict[str, dict[str, str]], Meta(description="Figures of the bundle, as texts.")]


class Duration(msgspec.Struct):
    """How often something was done since the start of the process, and the nanoseconds that it took together."""

    count: int
    ns: int


class InferenceStatistics(msgspec.Struct):
    """Requests, and the phases of those that succeeded. There is no cache."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration
    cache_miss: Duration


class BatchStatistics(msgspec.Struct):
    """The batches of one size."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(msgspec.Struct):
    """Counts and times of a model; ``last_inference`` is Unix time in milliseconds, 0 before the first one."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]


class Statistics(msgspec.Struct):
    """The statistics of one model, or of all in service."""

    model_stats: list[ModelStatistics]


class RepositoryModel(msgspec.Struct):
    """A model of the repository; ``state`` is READY, LOADING or UNAVAILABLE, and ``reason`` says why the latter."""

    name: str
    version: str
    state: str
    reason: str


class ResponseTensor(msgspec.Struct, omit_defaults=True):
    """An output; its elements are in ``data``, after the JSON (``binary_data_size``) or in a shared region."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class InferResponse(msgspec.Struct, omit_defaults=True):
    """The outputs for the clips of the request, whose ``id`` is repeated."""

    model_name: str
    model_version: str
    outputs: list[ResponseTensor]
    id: str | None = None
