"""Lists the layers of a TensorRT plan, as reported by the engine inspector."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from engines.errors import ExportError
from engines.runtimes.tensorrt.api import TensorRt
from engines.runtimes.tensorrt.plan import mapped

FILE_NAME = "layers.json"

# Parts of the names of fused attention kernels: those shipped with TensorRT, and those that it generates.
_FUSED_ATTENTION = re.compile(r"_gemm_mha|kgen_mha|fmha|_mha_", re.IGNORECASE)


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
