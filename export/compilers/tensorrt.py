"""Builds a TensorRT plan from ONNX, with one builder for ``tensorrt`` and ``tensorrt_rtx``."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import TYPE_CHECKING

from engines.device.cuda_driver import CudaDevice
from engines.errors import EngineError, ExportError
from engines.manifest import Tensor
from engines.runtimes.tensorrt.api import TensorRt, TensorRtTarget, load_tensorrt
from engines.runtimes.tensorrt.library import Library
from export.progress import Phases
from export.settings import PlanOptions

if TYPE_CHECKING:
    import tensorrt_rtx as trt

PLAN_FILE_NAME = "model.plan"
LOG_FILE_NAME = "build.log"

_POLL_S = 0.2


def require_tensorrt(target: TensorRtTarget, gpu: CudaDevice | None) -> TensorRt:
    """The library for ``target``; raises ExportError when it cannot build a plan on this machine."""
    try:
        tensorrt = load_tensorrt(target)
    except EngineError as error:
        raise ExportError(error.message, help=error.help) from None
    if gpu is None and not tensorrt.builds_without_gpu:
        raise ExportError(
            "TensorRT builds plans only on the GPU that will run them, and this machine has none",
            help="export there, or for RTX cards with --target tensorrt-rtx, or for this CPU with --target openvino",
        )
    return tensorrt


def timing_cache(tensorrt: TensorRt, gpu: CudaDevice | None, directory: Path) -> Path | None:
    """The file for kernel timings measured on ``gpu``; None without a GPU, or if the library measures none."""
    if gpu is None or not tensorrt.keeps_timings:
        return None
    return directory / f".timings-{tensorrt.version}-{gpu.name.replace(' ', '-')}"


def batch_profiles(opt_batch: int | None, max_batch: int) -> list[tuple[int, int, int]]:
    """The least, best and largest batch of each optimisation profile: one clip, and several.

    Kernels that are tuned for one clip are slow for many, and the other way round.
    """
    if max_batch == 1:
        return [(1, 1, 1)]
    return [(1, 1, 1), (2, max(2, opt_batch or max_batch), max_batch)]


class PlanBuilder:
    """Builds one plan, and writes the builder's warnings and errors to ``log``."""

    def __init__(self, tensorrt: TensorRt, options: PlanOptions, log: Path) -> None:
        self._tensorrt, self._options = tensorrt, options
        self._log = BuildLog(log)
        self._cancelled = threading.Event()
        library = tensorrt.module
        self._logger = _logger(library, self._log)
        self._builder = library.Builder(self._logger)
        # TensorRT 11 and later ignore this flag, because all their networks are strongly typed.
        strongly_typed = 1 << int(library.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        self._network = self._builder.create_network(strongly_typed)
        self._config = self._builder.create_builder_config()

    def build(
        self, onnx: Path, plan: Path, network_input: Tensor, max_batch: int, phases: Phases, timings: Path | None = None
    ) -> None:
        """Write ``plan`` for batches of 1 to ``max_batch``; ``timings`` is read before the build and updated after it.

        Raises:
            ExportError: the parser or the builder refuses the network.
        """
        self._parse(onnx)
        self._configure(network_input, max_batch)
        self._config.progress_monitor = _monitor(self._tensorrt.module, phases, self._cancelled)
        cache = self._load_timings(timings)
        serialized = self._serialize()
        if serialized is None:
            raise ExportError(f"{self._name} could not build the plan: {self._log.last_error}", help=self._log.cure)
        plan.write_bytes(memoryview(serialized))
        if cache is not None and timings is not None:
            aside = timings.with_name(f"{timings.name}.partial")
            aside.write_bytes(memoryview(cache.serialize()))
            aside.replace(timings)

    @property
    def _name(self) -> str:
        return f"{self._tensorrt.target} {self._tensorrt.version}"

    def _parse(self, onnx: Path) -> None:
        parser = self._tensorrt.module.OnnxParser(self._network, self._logger)
        if not parser.parse_from_file(str(onnx)):
            errors = [parser.get_error(index) for index in range(parser.num_errors)]
            first = errors[0].desc() if errors else self._log.last_error
            raise ExportError(
                f"{self._name} cannot read the network: {first}", help="try --opset 20, or a later version"
            )

    def _configure(self, network_input: Tensor, max_batch: int) -> None:
        library, options, config = self._tensorrt.module, self._options, self._config
        for least, best, most in batch_profiles(options.opt_batch, max_batch):
            profile = self._builder.create_optimization_profile()
            profile.set_shape(
                network_input.name, *((batch, *network_input.clip_shape) for batch in (least, best, most))
            )
            config.add_optimization_profile(profile)
        # Otherwise products of FP32 networks round their factors to 10 bits.
        config.clear_flag(library.BuilderFlag.TF32)
        self._tensorrt.require_capturable(config)
        config.profiling_verbosity = library.ProfilingVerbosity.DETAILED
        config.builder_optimization_level = options.optimization_level
        # A plan in FP32 would otherwise multiply with 10 bits of mantissa, and its answers would be those of FP16.
        config.clear_flag(library.BuilderFlag.TF32)
        if options.workspace_mib is not None:
            config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)
        if options.hardware_compatible:
            config.hardware_compatibility_level = library.HardwareCompatibilityLevel.AMPERE_PLUS
        if options.version_compatible:
            config.set_flag(library.BuilderFlag.VERSION_COMPATIBLE)
        if options.compute_capabilities:
            self._tensorrt.set_compute_capabilities(config, options.compute_capabilities)

    def _load_timings(self, timings: Path | None) -> trt.ITimingCache | None:
        """The timing cache that the builder starts from, None if timings are not kept."""
        if timings is None or not self._tensorrt.keeps_timings:
            return None
        known = timings.read_bytes() if timings.is_file() else b""
        # The library refuses a damaged file, and that of another GPU or driver; the builder then measures again.
        for content in (known, b""):
            cache = self._config.create_timing_cache(content)
            if cache is not None and self._config.set_timing_cache(cache, ignore_mismatch=False):
                return cache
        return None

    def _serialize(self) -> trt.IHostMemory | None:
        """Build in a thread, so that Ctrl-C is handled; it cancels the build at the builder's next step."""
        with ThreadPoolExecutor(1) as thread:
            building = thread.submit(self._builder.build_serialized_network, self._network, self._config)
            try:
                while True:
                    try:
                        return building.result(_POLL_S)
                    except FutureTimeoutError:
                        continue
            except KeyboardInterrupt:
                self._cancelled.set()
                raise


class BuildLog:
    """A file for the builder's warnings and errors, which may come from any thread."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self.last_error = "no reason was reported"

    @property
    def cure(self) -> str:
        """A remedy to try after ``last_error``."""
        if "Attention operation was not supported" in self.last_error:
            return "use --opset 20, because the library has no attention kernel for heads of this size"
        if "OutOfMemory" in self.last_error:
            return "try --opset 23, which writes attention as one node, or lower --max-batch"
        return "try another --optimization-level or --opset, or a later release of the library"

    def write(self, severity: str, message: str) -> None:
        with self._lock:
            if severity in ("ERROR", "INTERNAL_ERROR"):
                self.last_error = message.strip()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{severity} {message.strip()}\n")


def _logger(library: Library, log: BuildLog) -> trt.ILogger:
    class Logger(library.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity <= library.ILogger.WARNING:
                log.write(severity.name, msg)

    made: trt.ILogger = Logger()
    return made


def _monitor(library: Library, phases: Phases, cancelled: threading.Event) -> trt.IProgressMonitor:
    class Monitor(library.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases.step(phase_name, step)
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    made: trt.IProgressMonitor = Monitor()
    return made
