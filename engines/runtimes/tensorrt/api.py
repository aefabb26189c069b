"""Hides the differences between ``tensorrt`` and ``tensorrt_rtx``, whose APIs are nearly the same."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

from typing_extensions import Buffer

from engines.errors import EngineError
from engines.runtimes.tensorrt.errors import ErrorLog, logger_into, recorder_into
from engines.runtimes.tensorrt.library import Library

if TYPE_CHECKING:
    import tensorrt_rtx as trt

TensorRtTarget = Literal["tensorrt", "tensorrt-rtx"]

_MODULES: dict[TensorRtTarget, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_SUPPORTED: dict[TensorRtTarget, tuple[tuple[int, int], int]] = {
    "tensorrt": ((10, 13), 11),
    # 1.2 brought ``REQUIRE_USER_ALLOCATION`` and ``is_stream_capturable``.
    "tensorrt-rtx": ((1, 2), 1),
}
_CURES: dict[TensorRtTarget, str] = {
    "tensorrt": "run in NVIDIA's PyTorch container (25.10 or later), or install `tensorrt` from NVIDIA's package index",
    "tensorrt-rtx": "pip install tensorrt-rtx",
}


@dataclass(frozen=True)
class TensorRt:
    """One of the two libraries, after its import."""

    target: TensorRtTarget
    module: Library
    errors: ErrorLog = field(default_factory=ErrorLog)

    @property
    def version(self) -> str:
        return self.module.__version__

    @property
    def builds_without_gpu(self) -> bool:
        """Whether a build needs no GPU: the GPU that runs an RTX plan finishes its compilation."""
        return self.target == "tensorrt-rtx"

    @property
    def keeps_timings(self) -> bool:
        """Whether a build fills a timing cache; RTX measures nothing, and a request for its cache needs a GPU."""
        return self.target == "tensorrt"

    @property
    def compute_capabilities(self) -> dict[str, trt.ComputeCapability]:
        """The compute capabilities (``8.9``) that RTX plans can be built for on any machine; empty for TensorRT."""
        if self.target == "tensorrt":
            return {}
        members = self.module.ComputeCapability.__members__
        return {f"{name[2:-1]}.{name[-1]}": member for name, member in members.items() if name.startswith("SM")}

    def load_plan(self, serialized: Buffer, *, host_code: bool) -> trt.ICudaEngine | None:
        """The plan on the current CUDA device, or None with the reason in ``errors``.

        ``host_code`` lets a version-compatible plan run the library that it contains in this process.
        """
        self.errors.clear()
        # The runtime must outlive the plan, and the library does not ensure this.
        self._runtime.engine_host_code_allowed = host_code
        return self._runtime.deserialize_cuda_engine(serialized)

    def objections(self, serialized: Buffer) -> tuple[bool, tuple[str, ...]]:
        """Whether the plan cannot run here, and the names of the library's diagnostics (``UNSUPPORTED_CC``).

        Only RTX can check a plan before loading it. A plan with diagnostics that are only warnings runs, but slower.
        """
        if self.target == "tensorrt":
            return False, ()
        validity, bits = self._runtime.get_engine_validity(serialized)
        kinds = self.module.EngineInvalidityDiagnostics.__members__
        found = tuple(name for name, kind in kinds.items() if int(kind) & bits)
        return validity == self.module.EngineValidity.INVALID, found

    def execution_context(
        self, plan: trt.ICudaEngine, errors: ErrorLog, kernels: trt.IRuntimeCache | None
    ) -> trt.IExecutionContext | None:
        """A context that runs ``plan`` in memory that it is given, and records its errors in ``errors``.

        None when there is no memory for it. RTX compiles kernels when a shape is first run, and keeps them in
        ``kernels``; ``EAGER`` makes it wait for those specialised for the shape. Its own CUDA graphs stay off, because
        the whole lane is captured.
        """
        allocation = self.module.ExecutionContextAllocationStrategy.USER_MANAGED
        if self.target == "tensorrt":
            context = plan.create_execution_context(allocation)
        else:
            config = plan.create_runtime_config()
            config.set_execution_context_allocation_strategy(allocation)
            strategies = self.module.DynamicShapesKernelSpecializationStrategy
            config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
            config.set_runtime_cache(kernels)
            context = plan.create_execution_context(config)
        if context is not None:
            context.error_recorder = recorder_into(self.module, errors)
        return context

    def is_capturable(self, context: trt.IExecutionContext, stream: int) -> bool:
        """Whether a CUDA graph can be captured of ``context``; TensorRT cannot say, and the capture then fails."""
        return self.target == "tensorrt" or context.is_stream_capturable(stream)

    @functools.cached_property
    def _runtime(self) -> trt.Runtime:
        try:
            return self.module.Runtime(logger_into(self.module, self.errors))
        except TypeError:  # the bindings raise this when the library returns no runtime
            raise EngineError(
                f"{self.target} {self.version} cannot start: {self.errors}",
                help="look at nvidia-smi, update the driver",
            ) from None

    def set_compute_capabilities(self, config: trt.IBuilderConfig, capabilities: tuple[str, ...]) -> None:
        """Build the plan for GPUs of these compute capabilities."""
        config.num_compute_capabilities = len(capabilities)
        for index, capability in enumerate(capabilities):
            config.set_compute_capability(self.compute_capabilities[capability], index)

    def require_capturable(self, config: trt.IBuilderConfig) -> None:
        """Build a plan that never allocates memory while it runs, so that CUDA graphs of it can be captured."""
        if self.target == "tensorrt-rtx":
            config.set_flag(self.module.BuilderFlag.REQUIRE_USER_ALLOCATION)


def load_tensorrt(target: TensorRtTarget) -> TensorRt:
    """Import the library; raises EngineError with a cure when it is missing, broken or of an unsupported version."""
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
    return TensorRt(target, cast(Library, module))
