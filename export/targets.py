"""What a checkpoint can be exported for, and which of it is best here."""

from __future__ import annotations

import importlib.util

from engines.device.cuda_driver import cuda_devices
from engines.manifest import Precision, Target

# The precisions of each target; the first is its default.
PRECISIONS: dict[Target, tuple[Precision, ...]] = {
    "tensorrt": ("fp16", "bf16", "fp32"),
    "tensorrt-rtx": ("fp16", "bf16", "fp32"),
    "torch": ("fp16", "bf16", "fp32"),
    "openvino": ("bf16", "fp32", "int8"),
}
_MAX_BATCH: dict[Target, int] = {"tensorrt": 8, "tensorrt-rtx": 8, "torch": 8, "openvino": 1}


def best_target() -> Target:
    """TensorRT where there is a GPU and the library, torch with a GPU alone, OpenVINO without."""
    if not cuda_devices():
        return "openvino"
    if importlib.util.find_spec("tensorrt"):
        return "tensorrt"
    return "tensorrt-rtx" if importlib.util.find_spec("tensorrt_rtx") else "torch"


def best_precision(target: Target) -> Precision:
    """The fastest that keeps the answers; on CPUs only what they compute in."""
    if target == "openvino":
        from engines.runtimes.openvino import cpu_precision

        return cpu_precision("bf16")
    if target == "torch" and not cuda_devices():
        return "fp32"
    return PRECISIONS[target][0]


def best_max_batch(target: Target) -> int:
    """Batches pay off on GPUs; a CPU is fastest with one clip at a time."""
    return 1 if target == "torch" and not cuda_devices() else _MAX_BATCH[target]


def network_precision(target: Target, precision: Precision) -> Precision:
    """What the graph is written in: OpenVINO and NNCF lower the precision themselves, layer by layer."""
    return "fp32" if target == "openvino" else precision
