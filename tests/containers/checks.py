"""What must hold for the images and for their containers."""

from __future__ import annotations

import json
import time
from http.client import HTTPException
from typing import Any
from urllib.request import Request, urlopen

from engines.storage.bundle import DEMO
from engines.storage.reference import FILE_NAME, Reference
from tests.containers.engine import Podman, WrongError
from tests.ports import free_port

SERVICE, CONSUMER = "vjepa2-serve:cpu", "vjepa2-consumer"
# What an image may add to its base, in MB, a tenth more than it does.
_MOST_ADDED_MB = {SERVICE: 460, CONSUMER: 240}
_READY_WITHIN_S = 60
# As in docker-compose.yml.
_CONFINED = (
    "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges", "--init",
    "--tmpfs", "/tmp:mode=1777,exec", "--tmpfs", "/home/service:mode=1777",
)  # fmt: skip


def check_size(image: str, base: str, podman: Podman) -> None:
    """Print the image's size; it may not have grown much."""
    whole, below = (int(podman("image", "inspect", "--format", "{{.Size}}", name)) // 10**6 for name in (image, base))
    print(f"{image}: {whole} MB, of which {whole - below} MB are added to the base")
    require(whole - below <= _MOST_ADDED_MB[image], f"{image} adds more than {_MOST_ADDED_MB[image]} MB")


def check_service(podman: Podman) -> None:
    """The service in a container that may do nothing but what it needs: healthy, right, and stopped with code 0."""
    check_answer(check_confined(SERVICE, "alone", podman))
    check_stop("alone", podman)


def check_confined(image: str, container: str, podman: Podman) -> int:
    """Start ``container``; it is healthy, is not root and cannot change its code. Returns the port on 127.0.0.1."""
    port = free_port()
    podman("run", "--detach", "--name", container, "--publish", f"127.0.0.1:{port}:8000", *_CONFINED, image)
    wait_until_healthy(container, port, podman)
    require(podman("exec", container, "id", "-u").strip() == "10001", f"{image} runs as another user than 10001")
    require(_cannot_write(container, podman), f"{image} can write into its own code")
    return port


def wait_until_healthy(container: str, port: int, podman: Podman) -> None:
    """Until the published port answers; then the image's own health check must agree."""
    ends_at = time.monotonic() + _READY_WITHIN_S
    while not _is_healthy(port):
        if time.monotonic() > ends_at:
            raise WrongError(f"no healthy answer on the published port:\n{podman.logs(container)}")
        time.sleep(0.2)
    podman("healthcheck", "run", container)


def check_answer(port: int) -> None:
    """One clip through the published port gets the answer of the bundle's own reference."""
    reference = Reference.read(DEMO / FILE_NAME)
    clip = reference.clips[0]
    _, height, width, _ = clip.frames.shape
    url = f"http://127.0.0.1:{port}/api/v1/infer?width={width}&height={height}&format={clip.pixel_format}"
    headers = {"Content-Type": "application/octet-stream"}
    with urlopen(Request(url, clip.frames.tobytes(), headers), timeout=30) as answer:
        (first, *_) = json.load(answer)["predictions"]
    labels = json.loads((DEMO / "engine.json").read_text())["labels"]
    expected = labels[int(reference.probabilities[0].argmax())]
    require(first["label"] == expected, f"the answer is {first['label']!r} in place of {expected!r}")


def check_stop(container: str, podman: Podman) -> None:
    """SIGTERM ends the container with code 0."""
    podman("stop", "--time", "45", container)
    code = inspect(container, podman)["ExitCode"]
    require(code == 0, f"{container} ended with code {code}:\n{podman.logs(container)}")


def inspect(container: str, podman: Podman) -> dict[str, Any]:
    """The container's state."""
    return dict(json.loads(podman("inspect", "--format", "{{json .State}}", container)))


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise WrongError(otherwise)


def _is_healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(json.load(answer)["model_loaded"])
    except (OSError, HTTPException):
        return False


def _cannot_write(container: str, podman: Podman) -> bool:
    try:
        podman("exec", container, "touch", "/app/server/written")
    except WrongError:
        return True
    return False
