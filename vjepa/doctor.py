"""``vjepa doctor``: what runs on this machine, what is missing, and how to get it.

The exit code is 0 where the demo can be served and answers rightly, else 1. Nothing is changed or downloaded.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Iterator
from typing import NamedTuple

from commandline.extras import install_command
from commandline.parser import Parser
from commandline.programs import command
from engines.cores import usable_cores
from engines.device.cuda_driver import cuda_devices
from engines.errors import ServiceError
from engines.runtimes.default_bundle import default_bundle
from engines.runtimes.registry import open_engine
from engines.storage.bundle import DEMO, open_bundle
from engines.storage.verification import reference_of, verify
from server.config.version import VERSION


class Feature(NamedTuple):
    """Something that the programs can do if ``modules``, which ``extra`` brings, and where needed a GPU are there."""

    name: str
    modules: tuple[str, ...]
    extra: str
    needs_gpu: bool = False


FEATURES = (
    Feature("serve torch bundles", ("torch",), "gpu"),
    Feature("serve TensorRT-RTX plans", ("torch", "tensorrt_rtx"), "export", needs_gpu=True),
    Feature("serve TensorRT plans", ("torch", "tensorrt"), "gpu", needs_gpu=True),
    Feature("send traces (--tracing)", ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"), "tracing"),
    Feature("send events over MQTT", ("aiomqtt",), "mqtt"),
    Feature("label recordings", ("fsspec", "pyarrow", "rich"), "archive"),
    Feature("label on a Ray cluster (--ray)", ("ray",), "ray"),
    Feature("export checkpoints", ("torch", "transformers", "onnx", "onnxscript", "rich", "filelock"), "export"),
    Feature("export with --precision int8", ("torch", "transformers", "nncf"), "export"),
)


def main() -> int:
    """Print the report and return the exit code."""
    Parser("doctor", description="Tell what runs on this machine, what is missing, and how to get it.").parse_args()
    print(f"vjepa2-serve {VERSION}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    print(f"{usable_cores()} CPU cores; {_gpus()}\n")
    serves = _try_demo()
    for feature in FEATURES:
        print(_row(feature))
    chosen = default_bundle()
    print(f"\n`{command('serve')}` takes {chosen.path.name}: {chosen.reason}")
    return 0 if serves else 1


def _gpus() -> str:
    found = [f"{gpu.name} (compute capability {gpu.compute_capability})" for gpu in cuda_devices()]
    return ", ".join(found) or "no NVIDIA GPU with a driver was found, so everything runs on the CPU"


def _try_demo() -> bool:
    """Serve the embedded demo's own clips to its engine and print whether the answers are right."""
    try:
        bundle = open_bundle(DEMO)
        engine = open_engine(bundle)
        try:
            reference = reference_of(bundle)
            if reference is not None:
                verify(engine, reference)
        finally:
            engine.close()
    except (ServiceError, ImportError) as error:
        print(f"no   serve the demo on this CPU: {error}")
        return False
    print(f"yes  serve the demo on this CPU ({engine.device_name}): its answers are right")
    return True


def _row(feature: Feature) -> str:
    missing = list(_missing(feature.modules))
    lacks = [f"needs {', '.join(missing)}: {install_command(feature.extra)}"] if missing else []
    lacks += ["needs an NVIDIA GPU and its driver"] if feature.needs_gpu and not cuda_devices() else []
    return f"no   {feature.name}: {'; '.join(lacks)}" if lacks else f"yes  {feature.name}"


def _missing(modules: tuple[str, ...]) -> Iterator[str]:
    for name in modules:
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # a package that would contain the module
            found = None
        if found is None:
            yield name


if __name__ == "__main__":
    sys.exit(main())
