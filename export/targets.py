"""The targets that a checkpoint can be exported for, and the best one for this machine."""

from __future__ import annotations

import importlib.util

from engines.device.cuda_driver import cuda_devices
from engines.errors import ExportError
from engines.manifest import Precision, Target

# The precisions of each target; the first is its default.
PRECISIONS: dict[Target, tuple[Precision, ...]] = {
    "tensorrt": ("fp16", "bf16", "fp32", "fp8"),
    "tensorrt-rtx": ("fp16", "bf16", "fp32", "fp8"),
    "torch": ("fp16", "bf16", "fp32", "fp8"),
    "openvino": ("bf16", "fp32", "int8"),
}
_MAX_BATCH: dict[Target, int] = {"tensorrt": 8, "tensorrt-rtx": 8, "torch": 8, "openvino": 1}


def best_target() -> Target:
    """Return TensorRT for a GPU with its library, torch for a GPU without it, and OpenVINO without a GPU."""
    if not cuda_devices():
        return "openvino"
    if importlib.util.find_spec("tensorrt"):
        return "tensorrt"
    return "tensorrt-rtx" if importlib.util.find_spec("tensorrt_rtx") else "torch"


def best_precision(target: Target) -> Precision:
    """Return the fastest precision that keeps the answers and that the device computes natively."""
    if target == "openvino":
        from engines.runtimes.openvino import cpu_precision

        return cpu_precision("bf16")
    if target == "torch" and not cuda_devices():
        return "fp32"
    return PRECISIONS[target][0]


def best_max_batch(target: Target) -> int:
    """Return the default largest batch: GPUs gain from batches, a CPU is fastest with single clips."""
    return 1 if target == "torch" and not cuda_devices() else _MAX_BATCH[target]


def network_precision(target: Target, precision: Precision) -> Precision:
    """Return the precision of the graph, in which fp8 leaves all but some matrix products.

    OpenVINO and NNCF start from fp32 and lower it themselves, layer by layer.
    """
    if target == "openvino":
        return "fp32"
    return "fp16" if precision == "fp8" else precision


def check_head_size(head_size: int, opset: int) -> None:
    """Raises ExportError where TensorRT cannot read the attention of a network with this many features per head.

    The rotation needs pairs, so the queries and keys of an odd head get one more feature, and the values do not.
    """
    if opset >= 23 and head_size % 2:
        raise ExportError(
            f"--opset 23: TensorRT's attention needs an even number of features per head; this model has {head_size}",
            help="use --opset 20",
        )
