"""Estimates the memory and the disk space of an export before any weight is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from engines.errors import ExportError
from engines.manifest import Precision
from export.architectures.base import NetworkSizes
from export.settings import ExportSettings
from export.targets import network_precision

_BYTES: dict[Precision, int] = {"fp32": 4, "bf16": 2, "fp16": 2}
_LIBRARIES_BYTES = 700e6
# Memory that libraries use in addition to the weights, as a factor (measured: docs/export.md).
_OVERHEAD = 1.3
# Copies of the FP32 weights that NNCF and the networks that OpenVINO compiles for it hold at once.
_INT8_COPIES = 6


@dataclass(frozen=True)
class Outline:
    """``memory_bytes`` is the estimated peak; ``disk_bytes`` is the size of the bundle."""

    parameters: int
    memory_bytes: int
    disk_bytes: int


def outline(network: NetworkSizes, settings: ExportSettings) -> Outline:
    """Estimate the export of ``network`` with ``settings``."""
    parameters = network.parameters
    int8 = settings.precision == "int8"
    graph_bytes = parameters * _BYTES[network_precision(settings.target, settings.precision)]
    copies = 1 if settings.target in ("torch", "openvino") and not int8 else 2
    loaded_bytes = network.stored * 4 + (network.activation_bytes if settings.verify else 0)
    compiling_bytes = _INT8_COPIES * graph_bytes if int8 else parameters * 4 + copies * graph_bytes
    memory_bytes = _LIBRARIES_BYTES + _OVERHEAD * max(loaded_bytes, compiling_bytes)
    return Outline(parameters, int(memory_bytes), copies * graph_bytes)


def check_room(sizes: Outline, output: Path) -> None:
    """Raises ExportError when there is not enough free memory or disk space."""
    memory_bytes = psutil.virtual_memory().available
    if sizes.memory_bytes > memory_bytes:
        raise ExportError(
            f"this export needs about {_gb(sizes.memory_bytes)} of memory, but only {_gb(memory_bytes)} are free",
            help="close other programs, or export on a larger machine (only a TensorRT plan depends on its GPU)",
        )
    free_bytes = psutil.disk_usage(str(_existing(output))).free
    if sizes.disk_bytes > free_bytes:
        raise ExportError(
            f"this export needs {_gb(sizes.disk_bytes)} in {output.parent}, but only {_gb(free_bytes)} are free",
            help="free some space, or choose another --output",
        )


def describe(sizes: Outline, settings: ExportSettings, model: str, output: Path) -> str:
    """Describe the export for people: model, engine, estimated sizes and output, one line each."""
    weights = f"{sizes.parameters / 1e6:,.1f} M parameters{', random' if settings.random_weights else ''}"
    through = "ONNX" if settings.needs_onnx else "a torch program"
    engine = f"{settings.target} {settings.precision}, batch 1 to {settings.max_batch}"
    return "\n".join(
        (
            f"model            {model}, {weights}",
            f"engine           {engine}, through {through}",
            f"needs about      {_gb(sizes.memory_bytes)} of memory, {_gb(sizes.disk_bytes)} on disk",
            f"bundle           {output}",
        )
    )


def _existing(path: Path) -> Path:
    return next(parent for parent in path.absolute().parents if parent.exists())


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e6:.0f} MB"
