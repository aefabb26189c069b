"""Lists the layers of a TensorRT plan, and counts its fused attentions, which the plan's bytes tell without a GPU."""

from __future__ import annotations

import json
import mmap
import re
from pathlib import Path
from typing import Any

import onnx

from engines.errors import ExportError
from engines.runtimes.tensorrt.api import TensorRt
from engines.runtimes.tensorrt.plan import mapped

FILE_NAME = "layers.json"

# Parts of the names of fused attention kernels: those shipped with TensorRT, and those that it generates.
_FUSED_ATTENTION = re.compile(r"_gemm_mha|kgen_mha|fmha|_mha_", re.IGNORECASE)
# A call of such a kernel in the program that a plan contains as text. A plan for several GPUs contains it once.
_CALL = re.compile(rb"function=\{ name=\w*mha\w* fqn=")
# The softmax of an attention of its own operations, and an attention in one node, by their modules.
_ATTENTION_NODE = re.compile(r".*\.attention/(Softmax|Attention)")


def fused_attentions_in(plan: Path) -> int:
    """Count the calls of fused attention kernels in the bytes of ``plan``, which was built with detailed profiling."""
    with plan.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return sum(1 for _ in _CALL.finditer(content))


def attentions_in(onnx_file: Path) -> int:
    """Count the attentions of the network in ``onnx_file``, without reading its weights."""
    nodes = onnx.load(onnx_file, load_external_data=False).graph.node
    return sum(1 for node in nodes if _ATTENTION_NODE.fullmatch(node.name))


def write_layer_table(tensorrt: TensorRt, plan: Path, table: Path, *, host_code: bool) -> int:
    """Write the layers of ``plan`` to ``table`` as JSON; returns the number of fused attention layers.

    ``host_code``: the plan is version-compatible, and its own code may run here.

    This needs a GPU that can load the plan; raises ExportError if the plan cannot be loaded.
    """
    with mapped(plan) as serialized:
        engine = tensorrt.load_plan(serialized, host_code=host_code)
    if engine is None:
        raise ExportError(f"{tensorrt.target} cannot load the plan that it has just built: {tensorrt.errors}")
    form = tensorrt.module.LayerInformationFormat.JSON
    information = engine.create_engine_inspector().get_engine_information(form)
    layers: list[Any] = json.loads(information)["Layers"]
    table.write_text(json.dumps(layers, indent=1))
    return fused_attention(layers)


def fused_attention(layers: list[Any]) -> int:
    """Count the layers that compute attention in one kernel."""
    return sum(1 for layer in layers if _FUSED_ATTENTION.search(json.dumps(layer)))
