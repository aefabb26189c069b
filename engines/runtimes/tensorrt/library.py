"""The type of ``tensorrt`` and ``tensorrt_rtx``, which have the same classes; a machine may have none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    # ``typings`` describes the library, also where it is not installed.
    import tensorrt_rtx as trt


class Library(Protocol):
    """The names of the module that are used: ``Runtime`` and its products for running, the others for building."""

    __version__: str
    ILogger: type[trt.ILogger]
    Logger: type[trt.Logger]
    IErrorRecorder: type[trt.IErrorRecorder]
    ErrorCodeTRT: type[trt.ErrorCodeTRT]
    Runtime: type[trt.Runtime]
    EngineValidity: type[trt.EngineValidity]
    EngineInvalidityDiagnostics: type[trt.EngineInvalidityDiagnostics]
    DynamicShapesKernelSpecializationStrategy: type[trt.DynamicShapesKernelSpecializationStrategy]
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
