"""A plan on its device, after a check that its inputs and outputs are those of its manifest."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import BundleDamagedError
from engines.manifest import Tensor
from engines.runtimes.tensorrt.api import TensorRt
from engines.storage.bundle import Bundle

if TYPE_CHECKING:
    import tensorrt_rtx as trt

EXPORT_AGAIN = "export the model again on this machine"

_DTYPES = {"float32": "FLOAT", "float16": "HALF"}


@dataclass(frozen=True)
class Plan:
    """``engine`` with the names of its input and outputs, and the batch sizes of each optimisation profile."""

    engine: trt.ICudaEngine
    input: str
    outputs: tuple[str, ...]
    batches: tuple[range, ...]

    def profile(self, batch: int) -> int:
        """The index of the first profile that was made for ``batch``."""
        return next(index for index, batches in enumerate(self.batches) if batch in batches)


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """The file's content in the block, without a copy of it in memory."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


def checked(tensorrt: TensorRt, engine: trt.ICudaEngine, bundle: Bundle) -> Plan:
    """``engine`` as a plan; raises BundleDamagedError unless it has the input and outputs of the bundle's manifest."""
    manifest, modes = bundle.manifest, tensorrt.module.TensorIOMode
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == modes.INPUT]
    outputs = [name for name in names if engine.get_tensor_mode(name) == modes.OUTPUT]
    _compare(bundle, "input", [_told(engine, name) for name in inputs], (manifest.network_input,))
    _compare(bundle, "output", [_told(engine, name) for name in outputs], manifest.outputs)
    plan = Plan(engine, inputs[0], tuple(outputs), _batches(engine, inputs[0]))
    missing = set(range(1, manifest.max_batch + 1)).difference(*plan.batches)
    if missing:
        _refuse(bundle, f"it takes no batch of {min(missing)}, and the manifest promises 1 to {manifest.max_batch}")
    return plan


def _compare(bundle: Bundle, what: str, found: list[str], wanted: Sequence[Tensor]) -> None:
    expected = [_description(_DTYPES[one.dtype], one.clip_shape) for one in wanted]
    if found != expected:
        _refuse(
            bundle,
            f"its {what} is {' and '.join(found) or 'missing'}, and the manifest says {' and '.join(expected)}",
        )


def _refuse(bundle: Bundle, why: str) -> None:
    raise BundleDamagedError(f"bundle {bundle.path} has a plan that does not fit it: {why}", help=EXPORT_AGAIN)


def _told(engine: trt.ICudaEngine, name: str) -> str:
    # The first dimension is the batch, whose sizes the profiles give.
    return _description(engine.get_tensor_dtype(name).name, tuple(engine.get_tensor_shape(name))[1:])


def _description(dtype: str, clip_shape: tuple[int, ...]) -> str:
    return f"{dtype} [N, {', '.join(map(str, clip_shape))}]"


def _batches(engine: trt.ICudaEngine, name: str) -> tuple[range, ...]:
    limits = [engine.get_tensor_profile_shape(name, index) for index in range(engine.num_optimization_profiles)]
    return tuple(range(least[0], most[0] + 1) for least, _, most in limits)
