"""A module ``tensorrt`` or ``tensorrt_rtx`` that keeps the documented rules, and computes something simple.

A plan is JSON (``plan_bytes``). Its network's probabilities are the softmax of sums over every ``labels``-th value of a
clip, so that they depend on the clip only; its features, where a plan has them, are the first values of the clip. What
the library refuses is refused; what is undefined goes into
``cuda.violations`` and spoils the graph.
"""

from __future__ import annotations

import ctypes
import enum
import importlib.machinery
import json
import threading
import types
import weakref
from typing import Any

import numpy as np

from tests.fakes.cuda import Capture, FakeCuda

_NUMPY = {"FLOAT": np.float32, "HALF": np.float16}
MEMORY_BYTES = 4096


def plan_bytes(clip_shape: tuple[int, ...], labels: int, **changes: Any) -> bytes:
    """A plan for batches of 1, and of 2 to 4."""
    plan = {
        "input": {"name": "pixels", "dtype": "HALF", "shape": [-1, *clip_shape]},
        "output": {"name": "output0", "dtype": "FLOAT", "shape": [-1, labels]},
        "profiles": [[1, 1, 1], [2, 4, 4]],
        "host_code": False,
        "capturable": True,
    }
    return json.dumps(plan | changes).encode()


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY = 0
    EAGER = 1


class ErrorCodeTRT(enum.Enum):
    FAILED_EXECUTION = 1
    FAILED_ALLOCATION = 2


class EngineValidity(enum.Enum):
    VALID = 0
    INVALID = 2


class EngineInvalidityDiagnostics(enum.IntFlag):
    UNSUPPORTED_CC = 2


class LayerInformationFormat(enum.Enum):
    JSON = 1


class BuilderFlag(enum.Enum):
    TF32 = 0
    VERSION_COMPATIBLE = 1
    REQUIRE_USER_ALLOCATION = 2


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class ProfilingVerbosity(enum.Enum):
    DETAILED = 0


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class HardwareCompatibilityLevel(enum.Enum):
    AMPERE_PLUS = 0


class ComputeCapability(enum.Enum):
    SM89 = 0
    SM90 = 1
    SM120 = 2


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = range(3)

    def log(self, severity: Any, message: str) -> None:
        raise NotImplementedError


class IErrorRecorder:
    def report_error(self, code: ErrorCodeTRT, text: str) -> bool:
        raise NotImplementedError


class IProgressMonitor:
    pass


def make(cuda: FakeCuda, name: str, version: str) -> Any:
    """The module; ``compiled`` lists the thread, batch and kernel cache of each compilation in service (RTX)."""
    module: Any = types.ModuleType(name)
    module.__dict__.update({key: value for key, value in globals().items() if isinstance(value, type)})
    module.__version__, module.__spec__ = version, importlib.machinery.ModuleSpec(name, None)
    module.cuda, module.is_rtx = cuda, name == "tensorrt_rtx"
    module.compiled, module.contexts, module.configs, module.layer_tables = [], [], [], []
    module.Runtime = lambda logger: Runtime(module, logger)
    module.Builder = lambda logger: Builder(module, logger)
    module.OnnxParser = lambda network, logger: Parser(network)
    return module


class Runtime:
    def __init__(self, module: Any, logger: ILogger) -> None:
        self._module, self._logger = module, logger
        self.engine_host_code_allowed = False

    def get_engine_validity(self, buffer: Any) -> tuple[EngineValidity, int]:
        return EngineValidity.VALID, 0

    def deserialize_cuda_engine(self, buffer: Any) -> CudaEngine | None:
        self._module.cuda.submit("deserialize_cuda_engine")
        plan = json.loads(bytes(buffer))
        if plan["host_code"] and not self.engine_host_code_allowed:
            self._logger.log(ILogger.ERROR, "the plan holds host code, and engine_host_code_allowed is not set")
            return None
        return CudaEngine(self._module, plan, self._logger)


class RuntimeCache:
    """Kernels by batch size, for one release of the library."""

    def __init__(self, version: str) -> None:
        self._version, self.kernels = version, set[int]()

    def serialize(self) -> bytes:
        return json.dumps([self._version, sorted(self.kernels)]).encode()

    def deserialize(self, blob: Any) -> bool:
        try:
            version, kernels = json.loads(bytes(blob))
        except ValueError:
            return False
        if version == self._version:
            self.kernels.update(kernels)
        return bool(version == self._version)


class RuntimeConfig:
    def __init__(self, version: str) -> None:
        self._version = version
        self.strategy = ExecutionContextAllocationStrategy.STATIC
        self.dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY
        self.cache: RuntimeCache | None = None

    def set_execution_context_allocation_strategy(self, strategy: ExecutionContextAllocationStrategy) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache(self._version)

    def set_runtime_cache(self, cache: RuntimeCache | None = None) -> bool:
        self.cache = cache
        return True


class CudaEngine:
    def __init__(self, module: Any, plan: dict[str, Any], logger: ILogger) -> None:
        self.module, self.plan, self.logger = module, plan, logger
        parts = [("input", plan["input"]), ("output", plan["output"]), ("output", plan.get("features"))]
        self.tensors = {tensor["name"]: (part, tensor) for part, tensor in parts if tensor}
        self.num_io_tensors = len(self.tensors)
        self.num_optimization_profiles = len(plan["profiles"])
        self.device_memory_size_v2 = MEMORY_BYTES

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode[self.tensors[name][0].upper()] if name in self.tensors else TensorIOMode.NONE

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self.tensors[name][1]["dtype"]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name][1]["shape"])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        rest = self.get_tensor_shape(name)[1:]
        return [(batch, *rest) for batch in self.plan["profiles"][profile_index]]

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig(self.module.__version__)

    def create_execution_context(self, how: Any = None) -> ExecutionContext:
        context = ExecutionContext(self, how)
        self.module.contexts.append(weakref.ref(context))
        return context

    def create_engine_inspector(self) -> Any:
        self.module.layer_tables.append(self)
        return types.SimpleNamespace(
            get_engine_information=lambda form: json.dumps({"Layers": [{"Name": "_gemm_mha"}]})
        )


class ExecutionContext:
    """Invariant: a graph that was captured from it is right only while its shape and addresses stay."""

    error_recorder: IErrorRecorder

    def __init__(self, engine: CudaEngine, how: Any) -> None:
        config = how if isinstance(how, RuntimeConfig) else RuntimeConfig("")
        self.strategy = how if isinstance(how, ExecutionContextAllocationStrategy) else config.strategy
        self.cache, self._engine, self._cuda = config.cache, engine, engine.module.cuda
        self.memory: tuple[int, int] | None = None
        self.shapes: set[tuple[int, ...]] = set()
        self._profile, self._shape = 0, None
        self._addresses: dict[str, int] = {}
        self._graphs: list[weakref.ref[Capture]] = []

    def set_device_memory(self, memory: int, size: int) -> None:
        if self.strategy is not ExecutionContextAllocationStrategy.USER_MANAGED:
            self._cuda.violations.append("memory is given to a context that manages its own")
        self.memory = (memory, size)

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._cuda.submit("set_optimization_profile_async")
        self._profile, self._shape = profile_index, None
        return profile_index < self._engine.num_optimization_profiles

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._engine.plan["profiles"][self._profile]
        known = self._engine.get_tensor_mode(name) is TensorIOMode.INPUT
        if not known or tuple(shape[1:]) != self._engine.get_tensor_shape(name)[1:]:
            return self._error(f"setInputShape: {name} {shape} is not an input of this engine")
        if not least <= shape[0] <= most:
            return self._error(f"setInputShape: {shape} is not in the range of optimization profile {self._profile}")
        if shape != self._shape:
            self._spoil(f"the shape of a context becomes {shape}")
        self._shape = shape
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self._engine.tensors:
            return self._error(f"setTensorAddress: there is no tensor {name}")
        if self._addresses.get(name) not in (None, memory):
            self._spoil(f"the address of {name} changes")
        self._addresses[name] = memory
        return True

    def is_stream_capturable(self, stream: int) -> bool:
        return bool(self._engine.plan["capturable"])

    def execute_async_v3(self, stream_handle: int) -> bool:
        if self._shape is None or set(self._addresses) != set(self._engine.tensors):
            return self._error("enqueueV3: shapes or addresses are missing")
        if self.strategy is ExecutionContextAllocationStrategy.USER_MANAGED and (
            self.memory is None or not self.memory[0] or self.memory[1] < MEMORY_BYTES
        ):
            return self._error("enqueueV3: the context has no device memory, or too little")
        self.shapes.add(self._shape)
        self._compile(self._shape[0])
        self._cuda.submit("enqueueV3")
        capture = self._cuda.capturing_here
        if capture is None:
            self._compute()
        elif not self._engine.plan["capturable"]:
            capture.broken = "failed"
            return self._error("enqueueV3: this network allocates memory while it runs")
        else:
            capture.steps.append(self._compute_as_captured(dict(self._addresses), self._shape))
            self._graphs.append(weakref.ref(capture))
        return True

    def _compile(self, batch: int) -> None:
        if self._engine.module.is_rtx and (self.cache is None or batch not in self.cache.kernels):
            self._engine.module.compiled.append((threading.current_thread().name, batch))
            if self.cache is not None:
                self.cache.kernels.add(batch)

    def _compute_as_captured(self, addresses: dict[str, int], shape: tuple[int, ...]) -> Any:
        return lambda: _softmax_of_sums(self._engine.plan, addresses, shape)

    def _compute(self) -> None:
        assert self._shape is not None
        _softmax_of_sums(self._engine.plan, self._addresses, self._shape)

    def _spoil(self, why: str) -> None:
        for graph in filter(None, (reference() for reference in self._graphs)):
            graph.broken = why
            self._cuda.violations.append(f"{why} after a graph was captured from it")

    def _error(self, text: str) -> bool:
        self.error_recorder.report_error(ErrorCodeTRT.FAILED_EXECUTION, text)
        return False


def _softmax_of_sums(plan: dict[str, Any], addresses: dict[str, int], shape: tuple[int, ...]) -> None:
    labels = plan["output"]["shape"][1]
    pixels = _array(addresses[plan["input"]["name"]], shape, _NUMPY[plan["input"]["dtype"]])
    clips = pixels.reshape(shape[0], -1).astype(np.float64)
    logits = np.stack([clips[:, label::labels].mean(axis=1) * 20 for label in range(labels)], axis=1)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    output = _array(addresses[plan["output"]["name"]], (shape[0], labels), np.float32)
    output[:] = powers / powers.sum(axis=1, keepdims=True)
    if features := plan.get("features"):
        described = _array(addresses[features["name"]], (shape[0], features["shape"][1]), np.float32)
        described[:] = clips[:, : described.shape[1]]


def _array(address: int, shape: tuple[int, ...], dtype: Any) -> Any:
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * count).from_address(address), dtype).reshape(shape)


class Builder:
    def __init__(self, module: Any, logger: ILogger) -> None:
        self._module = module

    def create_network(self, flags: int = 0) -> Any:
        return types.SimpleNamespace(flags=flags)

    def create_builder_config(self) -> BuilderConfig:
        config = BuilderConfig(self._module)
        self._module.configs.append(config)
        return config

    def create_optimization_profile(self) -> OptimizationProfile:
        return OptimizationProfile()

    def build_serialized_network(self, network: Any, config: BuilderConfig) -> bytes:
        least, _, _ = config.profiles[0].shapes["pixels"]
        profiles = [[shape[0] for shape in profile.shapes["pixels"]] for profile in config.profiles]
        host_code = BuilderFlag.VERSION_COMPATIBLE in config.flags
        return plan_bytes(tuple(least[1:]), 5, profiles=profiles, host_code=host_code)


class OptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(self, name: str, least: Any, best: Any, most: Any) -> None:
        if not tuple(least) <= tuple(best) <= tuple(most):
            raise ValueError(f"{least}, {best}, {most} are not in order")
        self.shapes[name] = (least, best, most)


class TimingCache:
    def serialize(self) -> bytes:
        return b"timings of this GPU"


class BuilderConfig:
    def __init__(self, module: Any) -> None:
        self._module = module
        self.flags = {BuilderFlag.TF32}  # as the library's default is
        self.profiles: list[OptimizationProfile] = []
        self.timing_cache: TimingCache | None = None
        self.num_compute_capabilities = 0

    def set_compute_capability(self, compute_capability: ComputeCapability, index: int) -> bool:
        return index < self.num_compute_capabilities

    def add_optimization_profile(self, profile: OptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def set_flag(self, flag: BuilderFlag) -> None:
        if flag is BuilderFlag.REQUIRE_USER_ALLOCATION and not self._module.is_rtx:
            raise AttributeError("REQUIRE_USER_ALLOCATION")
        self.flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def create_timing_cache(self, serialized: bytes) -> TimingCache | None:
        return TimingCache() if serialized in (b"", TimingCache().serialize()) else None

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        self.timing_cache = cache
        return True


class Parser:
    num_errors = 0

    def __init__(self, network: Any) -> None:
        pass

    def parse_from_file(self, model: str) -> bool:
        return True
