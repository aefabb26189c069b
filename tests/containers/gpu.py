"""The image for GPUs on a base that stands in for NVIDIA's container, and whose system Python holds the same packages.

It has no CUDA and no TensorRT, so that what is tried is what the Dockerfile adds to such a container.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.containers.checks import check_answer, check_confined, check_stop, require
from tests.containers.engine import Podman, SkippedError, WrongError
from tests.docker_replay import stages

GPU = "vjepa2-serve:gpu"
_STAND_IN = """
FROM {base}
RUN python -m venv /tmp/pip && PIP_BREAK_SYSTEM_PACKAGES=1 /tmp/pip/bin/pip --python "$(command -v python3)" install \\
    --no-cache-dir --quiet torch==2.13.0 numpy=={numpy} onnx==1.18.0 nvidia-ml-py==12.575.51
RUN place=$(python -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])') \\
    && mkdir -p "$place/tensorrt" "$place/tensorrt-10.13.3.9.dist-info" /opt/nvidia \\
    && echo '__version__ = "10.13.3.9"' > "$place/tensorrt/__init__.py" \\
    && printf 'Metadata-Version: 2.1\\nName: tensorrt\\nVersion: 10.13.3.9\\n' \\
        > "$place/tensorrt-10.13.3.9.dist-info/METADATA" \\
    && printf '#!/bin/sh\\necho entered through the entry point of the base\\nexec "$@"\\n' \\
        > /opt/nvidia/nvidia_entrypoint.sh \\
    && chmod +x /opt/nvidia/nvidia_entrypoint.sh
"""


def stand_in(numpy: str, python: str, mounts: Sequence[str], podman: Podman) -> None:
    """Make the base that the Dockerfile names for GPUs, on the image ``python``. Raises SkippedError if it cannot."""
    written = podman.work / "stand-in.Dockerfile"
    written.write_text(_STAND_IN.format(base=python, numpy=numpy))
    options = ("--network", "host", "--isolation", "chroot", "--pull=never", "--layers=false")
    empty = podman.work / "context"
    empty.mkdir(exist_ok=True)
    try:
        podman("build", *options, *mounts, "--file", written, "--tag", stages()["gpu"][0], empty, timeout_s=600)
    except WrongError as error:
        raise SkippedError(f"no base could be made that stands in for NVIDIA's container: {error}") from error


def check_gpu(numpy: str, podman: Podman) -> None:
    """The base's packages are in use, bundles are listed, the embedded engine is served through the entry point."""
    versions = "import numpy, tensorrt, torch; print(numpy.__version__, tensorrt.__version__, torch.__version__)"
    seen = podman("run", "--rm", "--entrypoint", "python", GPU, "-c", versions).split()
    require(seen[:2] == [numpy, "10.13.3.9"] and seen[2].startswith("2.13.0"), f"other packages are in use: {seen}")
    entrypoint = stages()["gpu"][1][-1][1]
    require("nvidia_entrypoint.sh" in entrypoint, f"the entry point is {entrypoint}")
    listed = podman(
        "run", "--rm", "--entrypoint", "/opt/nvidia/nvidia_entrypoint.sh", GPU, "python", "-m", "export", "list"
    )
    require("demo" in listed, f"the bundles are {listed!r}")
    name = f"gpu-{numpy}"
    check_answer(check_confined(GPU, name, podman))
    require("entered through" in podman.logs(name), "the base's entry point was not run")
    check_stop(name, podman)
