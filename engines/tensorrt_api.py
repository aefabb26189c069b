"""``tensorrt`` and ``tensorrt_rtx``: nearly one API under two names. What differs between them is here."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
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
