"""The service and the consumer in one project of podman-compose."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from export.demo.labels import PUSH_RIGHT
from export.demo.show import write_motion
from tests.containers.checks import check_answer, check_stop, inspect, require, wait_until_healthy
from tests.containers.engine import Podman, SkippedError, WrongError, run
from tests.ports import free_port

_FILES = ("docker-compose.yml", "consumer/docker-compose.yml", "tests/containers/compose.yml")
_SERVICE, _CONSUMER = "together_service-cpu_1", "together_consumer_1"


def compose_command(podman: Podman) -> Path:
    """podman-compose in an environment of its own. Raises SkippedError where pip cannot install it."""
    place = podman.work / "compose"
    try:
        run(sys.executable, "-m", "venv", place, timeout_s=podman.within(60))
        run(place / "bin/pip", "install", "--quiet", "podman-compose>=1.2,<2", timeout_s=podman.within(120))
    except WrongError as error:
        raise SkippedError(f"podman-compose cannot be installed here: {error}") from error
    return place / "bin/podman-compose"


def check_together(compose: Path, podman: Podman) -> None:
    """The consumer sends a rendered video to the service beside it, and gets the right answer."""
    port = free_port()
    videos = podman.work / "videos"
    videos.mkdir()
    write_motion(videos / "motion.mp4", PUSH_RIGHT, seed=1)
    environment = podman.environment | {
        "VJEPA_PUBLISH": str(port),
        "VJEPA_SERVICE_URL": f"http://127.0.0.1:{port}",
        "VJEPA_CONSUMER_SOURCES": "/videos/motion.mp4",
        "VIDEOS": str(videos),
    }
    files = [word for file in _FILES for word in ("--file", file)]
    command = (compose, "--project-name", "together", *files, "--profile", "cpu")
    starting = ("up", "--detach", "--no-build", "service-cpu", "consumer")
    run(*command, *starting, timeout_s=podman.within(90), environment=environment)
    wait_until_healthy(_SERVICE, port, podman)
    check_answer(port)
    podman("wait", _CONSUMER, timeout_s=90)
    _check_consumer(podman)
    check_stop(_SERVICE, podman)


def _check_consumer(podman: Podman) -> None:
    logs = podman.logs(_CONSUMER)
    code = inspect(_CONSUMER, podman)["ExitCode"]
    require(code == 0, f"the consumer ended with code {code}:\n{logs}")
    answers = [json.loads(line) for line in logs.splitlines() if '"predictions"' in line]
    firsts = {answer["predictions"][0]["label"] for answer in answers}
    require(firsts == {PUSH_RIGHT}, f"the consumer's answers are {sorted(firsts)} in place of {PUSH_RIGHT!r}")
