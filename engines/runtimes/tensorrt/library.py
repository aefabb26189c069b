"""The common type of the modules ``tensorrt`` and ``tensorrt_rtx``, which may be missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    # The stubs in ``typings`` declare it, so the library need not be installed.
    import tensorrt_rtx as trt


class Library(Protocol):
    """The names that this project uses of the module, to run plans and to build them."""

    __version__: str
    ILogger: type[trt.ILogger]
    Logger: type[trt.Logger]
    IErrorRecorder: type[trt.IErrorRecorder]
    ErrorCodeTRT: type[trt.ErrorCodeTRT]
    Runtime: type[trt.Runtime]
    EngineValidity: type[trt.EngineValidity]
    EngineInvalidityDiagnostics: type[trt.EngineInvalidityDiagnostics]
    DynamicShapesKernelSpecializationStrategy: type[trt.DynamicShapesKernelSpecializationStrategy]
    ExecutionContextAllocationStrategy: type[trt.ExecutionContextAllocationStrategy]
    TensorIOMode: type[trt.TensorIOMode]
    LayerInformationFormat: type[trt.LayerInformationFormat]
    Builder: type[trt.Builder]
    BuilderFlag: type[trt.BuilderFlag]
    ComputeCapability: type[trt.ComputeCapability]
    HardwareCompatibilityLevel: type[trt.HardwareCompatibilityLevel]
    IProgressMonitor: type[trt.IProgressMonitor]
    MemoryPoolType: type[trt.MemoryPoolType]
    NetworkDefinitionCreationFlag: type[trt.NetworkDefinitionCreationFlag]
    OnnxParser: type[trt.OnnxParser]
    ProfilingVerbosity: type[trt.ProfilingVerbosity]
