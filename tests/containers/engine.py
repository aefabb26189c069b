"""Podman with a storage, networks and settings of its own; the user's images and containers stay as they are."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.live_server import ROOT

# Podman's own limits are higher than those that many machines let it set.
_MOST_FILES_AND_PROCESSES = 16_384


class SkippedError(Exception):
    """This machine cannot do it; the text says what is missing."""


class WrongError(Exception):
    """An image or a container is not as it should be."""


class SlowError(WrongError):
    """A command did not end in its time."""


@dataclass(frozen=True)
class Podman:
    """Commands of Podman in ``work``; each ends when the whole check has used its time, at ``ends_at`` (monotonic)."""

    work: Path
    ends_at: float

    @property
    def environment(self) -> dict[str, str]:
        settings = {
            "CONTAINERS_CONF": str(self.work / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.work / "storage.conf"),
        }
        return {name: value for name, value in os.environ.items() if not name.startswith("VJEPA_")} | settings

    def __call__(self, *words: str | Path, timeout_s: float = 60) -> str:
        """What ``podman words`` prints. Raises WrongError if it fails, SlowError if it takes too long."""
        return run("podman", *words, timeout_s=self.within(timeout_s), environment=self.environment)

    def logs(self, container: str) -> str:
        """What the container has printed, its standard error last."""
        done = subprocess.run(
            ["podman", "logs", container], env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        return done.stdout + done.stderr

    def within(self, timeout_s: float) -> float:
        """``timeout_s`` or what is left. Raises SkippedError where too little is left to judge a command by it."""
        left_s = self.ends_at - time.monotonic()
        if left_s < timeout_s / 2:
            raise SkippedError("its time is used up; this machine is too slow or too busy")
        return min(timeout_s, left_s)


def run(*words: str | Path, timeout_s: float, environment: dict[str, str] | None = None) -> str:
    """The command's standard output. Raises WrongError with its last lines if it fails, SlowError if it is slow."""
    command = [str(word) for word in words]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except BaseException as error:
        # Its children too: a build runs pip, which would go on.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise SlowError(f"{' '.join(command[:3])} took more than {timeout_s:.0f} s") from error
        raise
    if process.returncode:
        last = "\n".join((output + errors).strip().splitlines()[-15:])
        raise WrongError(f"{' '.join(command[:3])} ended with code {process.returncode}:\n{last}")
    return output


@contextlib.contextmanager
def podman(budget_s: float) -> Iterator[Podman]:
    """Podman in a directory that is removed afterwards, with all that runs in it. Raises SkippedError.

    All its commands together take at most ``budget_s``.
    """
    missing = [name for name in ("podman", "runc", "catatonit", "iptables") if shutil.which(name) is None]
    if missing or os.geteuid():
        raise SkippedError(f"this takes root, and these programs are missing: {' '.join(missing) or 'none'}")
    work = Path(tempfile.mkdtemp(prefix="vjepa-containers-"))
    engine = Podman(work, time.monotonic() + budget_s)
    try:
        _configure(work)
        _probe(engine)
        yield engine
    finally:
        _remove(engine)


def _configure(work: Path) -> None:
    limits = ", ".join(
        f'"{name}={most}:{most}"'
        for name, most in (("nofile", _most(resource.RLIMIT_NOFILE)), ("nproc", _most(resource.RLIMIT_NPROC)))
    )
    (work / "networks").mkdir()
    (work / "containers.conf").write_text(
        f'[containers]\ndefault_ulimits = [{limits}]\n[network]\nnetwork_config_dir = "{work}/networks"\n'
        f'[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\ntmp_dir = "{work}/state"\n'
    )
    (work / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{work}/storage"\nrunroot = "{work}/run"\n'
    )


def _probe(engine: Podman) -> None:
    try:
        engine("info")
    except WrongError as error:
        raise SkippedError(f"Podman does not work here: {error}") from error


def _most(limit: int) -> int:
    hard = resource.getrlimit(limit)[1]
    return _MOST_FILES_AND_PROCESSES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES_AND_PROCESSES)


def _remove(engine: Podman) -> None:
    removing = ["podman", "rm", "--all", "--force", "--time", "0"]
    subprocess.run(removing, env=engine.environment, capture_output=True, check=False, timeout=60)
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in sorted((place for place in mounted if Path(place).is_relative_to(engine.work)), reverse=True):
        subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)
    shutil.rmtree(engine.work, ignore_errors=True)
