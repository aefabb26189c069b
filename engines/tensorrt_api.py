"""``tensorrt`` and ``tensorrt_rtx``: nearly one API under two names. What differs between them is here."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

from engines.errors import EngineError

TensorRtTarget = Literal["tensorrt", "tensorrt-rtx"]

_MODULES: dict[TensorRtTarget, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_SUPPORTED: dict[TensorRtTarget, tuple[tuple[int, int], int]] = {
    "tensorrt": ((10, 13), 11),
    "tensorrt-rtx": ((1, 0), 1),
}
_CURES: dict[TensorRtTarget, str] = {
    "tensorrt": "run in NVIDIA's PyTorch container (25.10 or later), or install `tensorrt` from NVIDIA's package index",
    "tensorrt-rtx": "pip install tensorrt-rtx",
}


@dataclass(frozen=True)
class TensorRt:
    """One of the two libraries, loaded."""

    target: TensorRtTarget
    module: ModuleType
    _errors: list[str] = field(default_factory=list)

    @property
    def version(self) -> str:
        return str(self.module.__version__)

    @property
    def builds_without_gpu(self) -> bool:
        """RTX plans are finished on the GPU that runs them, so none is needed to build one."""
        return self.target == "tensorrt-rtx"

    @property
    def keeps_timings(self) -> bool:
        """RTX measures nothing while it builds; its timing cache is empty, and asking for one needs a GPU."""
        return self.target == "tensorrt"

    @property
    def compute_capabilities(self) -> dict[str, Any]:
        """The GPUs that an RTX plan can be built for elsewhere, by compute capability (``8.9``); empty for TensorRT."""
        kinds = getattr(self.module, "ComputeCapability", None)
        members = kinds.__members__ if kinds is not None else {}
        return {f"{name[2:-1]}.{name[-1]}": member for name, member in members.items() if name.startswith("SM")}

    def load_plan(self, serialized: bytes) -> Any:
        """The plan on the current CUDA device, or None with the reason in ``last_error``."""
        self._errors.clear()
        # The plan needs its runtime for as long as it lives; the library does not see to that itself.
        return self._runtime.deserialize_cuda_engine(serialized)

    def execution_context(self, plan: Any) -> Any:
        """A context to run ``plan`` in; None when there is no memory for it.

        RTX compiles a plan's kernels when they are first needed; it is told to wait for those made for the very shapes.
        """
        if self.target == "tensorrt":
            return plan.create_execution_context()
        contexts = plan.create_runtime_config()
        strategies = self.module.DynamicShapesKernelSpecializationStrategy
        contexts.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        return plan.create_execution_context(contexts)

    @property
    def last_error(self) -> str:
        """What the library complained of last."""
        return self._errors[-1] if self._errors else "it gave no reason"

    @functools.cached_property
    def _runtime(self) -> Any:
        return self.module.Runtime(_error_collector(self.module, self._errors))

    def set_compute_capabilities(self, config: Any, capabilities: tuple[str, ...]) -> None:
        """Make the builder's plan one for these GPUs."""
        config.num_compute_capabilities = len(capabilities)
        for index, capability in enumerate(capabilities):
            config.set_compute_capability(self.compute_capabilities[capability], index)


def load_tensorrt(target: TensorRtTarget) -> TensorRt:
    """Raises EngineError with a cure when the library is missing, broken, or of a version that is not supported."""
    name = _MODULES[target]
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as error:
        what = "is not installed" if isinstance(error, ModuleNotFoundError) else f"cannot be loaded ({error})"
        raise EngineError(f"{name} {what}", help=_CURES[target]) from None
    least, most = _SUPPORTED[target]
    major, minor = (int(part) for part in module.__version__.split(".")[:2])
    if not (least <= (major, minor) and major <= most):
        raise EngineError(
            f"{name} {module.__version__} is not supported", help=f"install {least[0]}.{least[1]} to {most}.x"
        )
    return TensorRt(target, module)


def _error_collector(trt: Any, errors: list[str]) -> Any:
    class Collector(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                errors.append(message.strip())

    return Collector()
