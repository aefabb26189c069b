"""The OpenAPI description of what requests of the Open Inference Protocol hold, and example answers."""

from __future__ import annotations

from typing import Any

from engines.manifest import Manifest
from server.api.docs.inference_schema import example_frames, header_parameters
from server.api.v2 import answers
from server.api.v2.model import VERSION
from server.api.v2.server_status import EXTENSIONS
from server.clips.infer_request import JSON, OCTET_STREAM
from server.clips.tensors.tensor_reader import HEAD_LENGTH_HEADER
from server.http.endpoint import Served

JsonObject = dict[str, Any]

_NAME = "vjepa2-vitl-fpc16-256-ssv2-tensorrt-fp16"
_SOME = answers.Duration(2101, 30_113_000_000)
_NONE = answers.Duration(0, 0)

LIVE = answers.ServerLive(live=True)
READY = answers.ServerReady(live=True, ready=True)
SERVER = answers.ServerMetadata("vjepa2-serve", "0.1.0", list(EXTENSIONS))
MODEL_READY = answers.ModelReady(_NAME, ready=True)
METADATA = answers.ModelMetadata(
    name=_NAME,
    versions=[VERSION],
    platform="vjepa2_tensorrt",
    inputs=[answers.TensorMetadata("frames", "UINT8", [-1, 16, -1, -1, 3])],
    outputs=[answers.TensorMetadata("probabilities", "FP32", [-1, 174])],
)
CONFIG = answers.ModelConfig(
    name=_NAME,
    platform="vjepa2_tensorrt",
    backend="tensorrt",
    max_batch_size=8,
    input=[answers.TensorConfig("frames", "TYPE_UINT8", [16, -1, -1, 3])],
    output=[answers.TensorConfig("probabilities", "TYPE_FP32", [174])],
    dynamic_batching=answers.PriorityQueue([], 0, 3, 2),
    model_transaction_policy={"decoupled": False},
    parameters={"crop": {"string_value": "256"}},
)
STATISTICS = answers.Statistics(
    [
        answers.ModelStatistics(
            name=_NAME,
            version=VERSION,
            last_inference=1_764_244_800_000,
            inference_count=2101,
            execution_count=700,
            inference_stats=answers.InferenceStatistics(_SOME, _NONE, _SOME, _SOME, _SOME, _SOME, _NONE, _NONE),
            batch_stats=[answers.BatchStatistics(3, _SOME, _SOME, _SOME)],
        )
    ]
)
RESPONSE = answers.InferResponse(
    model_name=_NAME,
    model_version=VERSION,
    outputs=[answers.ResponseTensor("probabilities", "FP32", [1, 3], data=[0.91, 0.05, 0.04])],
    id="gate 7",
)


def model_path(served: Served) -> JsonObject:
    """The parameter of the paths of a model."""
    schema = {"type": "string", "enum": list(served.names)}
    return {
        "parameters": [
            {"name": "model", "in": "path", "required": True, "description": "Name of the model.", "schema": schema}
        ]
    }


def inference(served: Served) -> JsonObject:
    """``parameters`` and ``requestBody`` of the inference operation."""
    manifest = served.manifest
    head = {
        "name": HEAD_LENGTH_HEADER,
        "in": "header",
        "description": "Length of the JSON in bytes, where binary tensors follow it.",
        "schema": {"type": "integer", "minimum": 1},
    }
    content = {JSON: {"schema": _schema(manifest), "examples": {"clip": _example(manifest)}}, OCTET_STREAM: {}}
    return {
        "parameters": [*model_path(served)["parameters"], head, *header_parameters()],
        "requestBody": {
            "required": True,
            "description": f"A tensor of clips of {manifest.frames} frames each.",
            "content": content,
        },
    }


def _schema(manifest: Manifest) -> JsonObject:
    image = {"type": "string", "contentEncoding": "base64", "minLength": 4}
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": {"const": "frames"},
            "datatype": {
                "const": "BYTES",
                "description": "Encoded images. UINT8 is accepted too: pixels, [clips, frames, height, width, 3].",
            },
            "shape": {"const": [1, manifest.frames], "description": "Clips and frames; more clips up to the batch."},
            "data": {"type": "array", "minItems": manifest.frames, "maxItems": manifest.frames, "items": image},
        },
    }
    return {
        "type": "object",
        "title": "InferRequest",
        "description": "A clip as a tensor of images in base64.",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string", "description": "Repeated by the answer."},
            "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": tensor},
        },
    }


def _example(manifest: Manifest) -> JsonObject:
    frames = example_frames(manifest)
    tensor = {"name": "frames", "datatype": "BYTES", "shape": [1, manifest.frames], "data": frames}
    return {"summary": "A square that moves up, as small images", "value": {"id": "gate 7", "inputs": [tensor]}}
