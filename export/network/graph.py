"""Traces a network and writes it as an ONNX file or a torch program: normalised pixels in, answers out."""

from __future__ import annotations

import ast
import contextlib
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx
import onnx_ir
import torch

from engines.errors import ExportError
from engines.manifest import FeaturePart, Features, Precision, Tensor
from export.architectures.base import StagedNetwork

INPUT_NAME = "pixels"
OUTPUT_NAME = "probabilities"
FEATURES_NAME = "features"
BATCH_NAME = "batch"
ONNX_FILE_NAME = "model.onnx"
PROGRAM_FILE_NAME = "model.pt2"
MOST_CLIPS = 64

# From this size on, weights go into a file beside the ONNX file.
_LEAST_EXTERNAL_BYTES = 64 * 2**20
_MODULE_NAMES = "pkg.torch.onnx.name_scopes"


def input_tensor(clip_shape: tuple[int, int, int, int], precision: Precision) -> Tensor:
    """The input of the network in ``precision``, as the manifest describes it."""
    return Tensor(name=INPUT_NAME, dtype="float32" if precision == "fp32" else "float16", clip_shape=clip_shape)


def probabilities_output(labels: int) -> Tensor | None:
    """The probabilities as the manifest describes them; None for a network without labels."""
    return Tensor(name=OUTPUT_NAME, dtype="float32", clip_shape=(labels,)) if labels else None


def features_output(parts: Sequence[FeaturePart]) -> Features:
    """The features as the manifest describes them."""
    size = sum(part.size for part in parts)
    return Features(output=Tensor(name=FEATURES_NAME, dtype="float32", clip_shape=(size,)), parts=tuple(parts))


def trace(network: StagedNetwork, network_input: Tensor) -> torch.export.ExportedProgram:
    """Trace ``network`` as a program for batches of 1 to ``MOST_CLIPS`` clips."""
    # Two clips, because torch would treat a batch size of 1 as a constant.
    example = torch.zeros(2, *network_input.clip_shape, dtype=getattr(torch, network_input.dtype))
    batch = torch.export.Dim(BATCH_NAME, min=1, max=MOST_CLIPS)
    with torch.no_grad():
        return torch.export.export(network.eval(), (example,), dynamic_shapes=({0: batch},), strict=False)


def write_program(program: torch.export.ExportedProgram, directory: Path) -> None:
    """Write ``model.pt2`` into ``directory``, without the file paths of the machine that traced it."""
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    torch.export.save(program, directory / PROGRAM_FILE_NAME)


def write_onnx(
    program: torch.export.ExportedProgram, directory: Path, opset: int, properties: Mapping[str, str]
) -> None:
    """Write ``model.onnx`` into ``directory``, with large weights in a second file, and run onnx's full checker."""
    with warnings.catch_warnings(), _quiet_exporter():
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            opset_version=opset,
            input_names=[INPUT_NAME],
            output_names=_output_names(program),
            # Without it, the axis has the name of a symbol in the program.
            dynamic_shapes=({0: BATCH_NAME},),
        )
    if exported is None:
        raise ExportError("torch's ONNX exporter returned no program")
    _name_nodes_by_module(exported.model)
    exported.model.metadata_props.update(properties)
    path = directory / ONNX_FILE_NAME
    exported.save(path, external_data=_weights_bytes(exported.model) >= _LEAST_EXTERNAL_BYTES)
    onnx.checker.check_model(path, full_check=True)


def _output_names(program: torch.export.ExportedProgram) -> list[str]:
    return [OUTPUT_NAME, FEATURES_NAME][-len(program.graph_signature.user_outputs) :]


def _weights_bytes(model: onnx_ir.Model) -> int:
    return sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)


def _name_nodes_by_module(model: onnx_ir.Model) -> None:
    """Name nodes like ``blocks.0.attention.qkv/MatMul`` and remove the metadata that torch adds to them."""
    seen: Counter[str] = Counter()
    for node in model.graph.all_nodes():
        module = _module_of(node)
        name = f"{module}/{node.op_type}" if module else node.op_type
        seen[name] += 1
        node.name = name if seen[name] == 1 else f"{name}.{seen[name]}"
        node.metadata_props.clear()


def _module_of(node: onnx_ir.Node) -> str:
    """The module that ``node`` belongs to; where torch recorded none, that of the node that produces its input."""
    scopes = ast.literal_eval(node.metadata_props.get(_MODULE_NAMES, "[]"))
    feeding = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    if scopes or feeding is None or feeding.name is None:
        return next((str(scope) for scope in reversed(scopes[:-1]) if scope), "")
    return feeding.name.rpartition("/")[0]


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence torch's warnings about optional packages that it could register operators for."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
