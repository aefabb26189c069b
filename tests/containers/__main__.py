"""``python -m tests.containers``: exit code 0 if the images are right, or if it says why they cannot be built here.

The images are those for CPUs: the service's and the consumer's. With ``gpu`` it is the one for GPUs, on bases that
stand in for NVIDIA's container with either numpy; that takes about 15 minutes. All are built with this machine's own
settings of pip, in a storage of their own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.containers.base import pip_mounts, provide, registry_is_reached
from tests.containers.checks import CONSUMER, SERVICE, check_service, check_size
from tests.containers.engine import Podman, SkippedError, SlowError, WrongError, podman
from tests.containers.gpu import GPU, check_gpu, stand_in
from tests.containers.together import check_together, compose_command
from tests.docker_replay import stages

_BUILDS = {SERVICE: ("--target", "cpu"), CONSUMER: ("--file", "consumer/Dockerfile")}
_NUMPY = ("1.26.4", "2.1.0")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.containers", description="Build and run the images.")
    parser.add_argument("what", nargs="?", choices=("cpu", "gpu"), default="cpu")
    check, budget_s = {"cpu": (_check_cpu, 480), "gpu": (_check_gpu, 1800)}[parser.parse_args().what]
    started = time.monotonic()
    try:
        with podman(budget_s) as engine:
            check(engine)
    except SkippedError as error:
        print(f"skipped: building and running the containers ({error})", file=sys.stderr)
        return 0
    except WrongError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"the containers are as they should be ({time.monotonic() - started:.0f} s)")
    return 0


def _check_cpu(podman: Podman) -> None:
    base, mounts = _base(podman), pip_mounts(podman.work)
    for image, words in _BUILDS.items():
        _build(image, words, mounts, podman, timeout_s=240)
        check_size(image, base, podman)
    check_service(podman)
    _say("the service alone: read-only, without capabilities and root: healthy, right, stopped with code 0")
    try:
        compose = compose_command(podman)
    except SkippedError as error:
        print(f"skipped: the service and the consumer in one project ({error})", file=sys.stderr)
        return
    check_together(compose, podman)
    _say("the service and the consumer in one project: the consumer's answers are right, both ended with code 0")


def _check_gpu(podman: Podman) -> None:
    base, mounts = _base(podman), pip_mounts(podman.work)
    for numpy in _NUMPY:
        stand_in(numpy, base, mounts, podman)
        _build(GPU, ("--target", "gpu"), mounts, podman, timeout_s=600)
        check_gpu(numpy, podman)
        _say(f"the image for GPUs beside numpy {numpy}: lists bundles, serves the demo, stopped with code 0")


def _base(podman: Podman) -> str:
    base = stages()["cpu"][0]
    _say(f"{base}: {provide(base, podman)}")
    return base


def _build(image: str, words: Sequence[str], mounts: Sequence[str], podman: Podman, timeout_s: float) -> None:
    started = time.monotonic()
    options = ("--network", "host", "--isolation", "chroot", "--pull=never", "--format", "docker", "--layers=false")
    try:
        podman("build", *options, *mounts, *words, "--tag", image, ".", timeout_s=timeout_s)
    except SlowError as error:
        raise SkippedError(str(error)) from error
    except WrongError as error:
        if registry_is_reached():
            raise
        raise SkippedError("pip reaches no registry") from error
    _say(f"{image}: built in {time.monotonic() - started:.0f} s")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
