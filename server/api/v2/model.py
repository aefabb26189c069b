"""The models in service as the Open Inference Protocol describes it: metadata, readiness, configuration, statistics."""

from __future__ import annotations

import msgspec
from aiohttp import web

from engines.manifest import Manifest
from server.api.v2 import answers
from server.api.v2.outputs import outputs_of
from server.clips.tensors.frames_tensor import FRAMES, UINT8
from server.errors import NotFoundError, shown
from server.http.context import SERVICE
from server.serving.models.served_model import ServedModel
from server.serving.service import State
from server.telemetry.statistics import Statistics, Total

# A bundle has one version at a time: a swap replaces it.
VERSION = "1"

_PRIORITY_LEVELS, _DEFAULT_LEVEL = 3, 2


async def metadata(request: web.Request) -> web.Response:
    """Name, inputs and outputs of the model; raises NotReadyError until one is loaded."""
    model = model_of(request)
    return answered(metadata_of(model.deployed().model.manifest, model.protocol_name))


async def ready(request: web.Request) -> web.Response:
    """200 while the model accepts requests; otherwise raises NotReadyError."""
    model = model_of(request)
    request.app[SERVICE].check_ready(model)
    return answered(answers.ModelReady(model.protocol_name, ready=True))


async def config(request: web.Request) -> web.Response:
    """The configuration of the model."""
    model, settings = model_of(request), request.app[SERVICE].settings
    return answered(config_of(model.deployed().model.manifest, model.protocol_name, settings.batch_wait_ms))


async def statistics(request: web.Request) -> web.Response:
    """Counts and times since the start of the process, of one model or of all in service."""
    service = request.app[SERVICE]
    service.loaded()
    models = [model_of(request)] if "model" in request.match_info else service.models.ready()
    return answered(
        answers.Statistics([_statistics_of(model.protocol_name, model.metrics.statistics) for model in models])
    )


def model_of(request: web.Request) -> ServedModel:
    """The model that the path names; raises NotFoundError for another one or a version that it does not have.

    Raises NotReadyError while the service loads, because the name of the only model is in its bundle.
    """
    service = request.app[SERVICE]
    if service.state is State.LOADING:
        service.loaded()
    model = service.models.of(request.match_info["model"])
    version = request.match_info.get("version", VERSION)
    if version != VERSION:
        raise NotFoundError(
            f"the model {model.protocol_name} has no version {shown(version)!r}; accepted: {VERSION}", field="version"
        )
    return model


def answered(answer: msgspec.Struct | list[msgspec.Struct] | dict[str, str]) -> web.Response:
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


def metadata_of(manifest: Manifest, name: str) -> answers.ModelMetadata:
    shape = [-1, manifest.frames, -1, -1, 3]
    has = outputs_of(manifest).items()
    outputs = [answers.TensorMetadata(one.name, one.datatype, [-1, *dims]) for one, dims in has]
    inputs = [answers.TensorMetadata(FRAMES, UINT8, shape)]
    return answers.ModelMetadata(name, [VERSION], _platform(manifest), inputs, outputs)


def config_of(manifest: Manifest, name: str, batch_wait_ms: int) -> answers.ModelConfig:
    return answers.ModelConfig(
        name=name,
        platform=_platform(manifest),
        backend=manifest.target,
        max_batch_size=manifest.max_batch,
        input=[answers.TensorConfig(FRAMES, "TYPE_UINT8", [manifest.frames, -1, -1, 3])],
        output=[
            answers.TensorConfig(one.name, f"TYPE_{one.datatype}", list(dims))
            for one, dims in outputs_of(manifest).items()
        ],
        dynamic_batching=answers.PriorityQueue([], 1000 * batch_wait_ms, _PRIORITY_LEVELS, _DEFAULT_LEVEL),
        model_transaction_policy={"decoupled": False},
        parameters={
            "crop": {"string_value": str(manifest.preprocessing.crop)},
            "resize": {"string_value": str(manifest.preprocessing.resize)},
            "source": {"string_value": manifest.source.model},
        },
    )


def _statistics_of(name: str, counted: Statistics) -> answers.ModelStatistics:
    nothing = answers.Duration(0, 0)
    inference = answers.InferenceStatistics(
        success=_duration(counted.success),
        fail=_duration(counted.fail),
        queue=_duration(counted.queue),
        compute_input=_duration(counted.compute_input),
        compute_infer=_duration(counted.compute_infer),
        compute_output=_duration(counted.compute_output),
        cache_hit=nothing,
        cache_miss=nothing,
    )
    batches = [
        answers.BatchStatistics(
            size, _duration(totals.compute_input), _duration(totals.compute_infer), _duration(totals.compute_output)
        )
        for size, totals in sorted(counted.batches.items())
    ]
    return answers.ModelStatistics(
        name=name,
        version=VERSION,
        last_inference=counted.last_inference_ms,
        inference_count=counted.inferences,
        execution_count=counted.executions,
        inference_stats=inference,
        batch_stats=batches,
    )


def _platform(manifest: Manifest) -> str:
    return f"vjepa2_{manifest.target.replace('-', '_')}"


def _duration(total: Total) -> answers.Duration:
    return answers.Duration(total.count, total.ns)
