"""A server under comparison: started as a process of its own, asked, and stopped with all of its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from tests.latency.generator import AnswerError, Connection, first_label
from tests.latency.payloads import Payload
from tests.live_server import ROOT
from tests.ports import free_port

_START_S = 300
_STOP_S = 20
_POLL_S = 0.2
# A server that is not up yet says something else.
_REFUSALS = range(400, 500)


@dataclass(frozen=True)
class Contender:
    """``command`` has ``{port}`` where the port goes; ``processes`` tells how many handle requests, and which.

    ``tells_phases``: its ``/metrics`` has the time of every phase.
    """

    name: str
    command: tuple[str, ...]
    processes: str
    environment: dict[str, str] = field(default_factory=dict)
    path: str = "/api/v1/infer"
    tells_phases: bool = False


class Running:
    """A contender that answers; made by ``running``."""

    def __init__(self, contender: Contender, port: int, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self.contender = contender
        self.place = ("127.0.0.1", port)
        self._process = process
        self._log = log

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """Running in the block, stopped after it: some servers take CPU while nobody asks them."""
        _signal(_tree(self._process.pid), signal.SIGCONT)
        try:
            yield
        finally:
            _signal(_tree(self._process.pid), signal.SIGSTOP)

    def cpu_s(self) -> float:
        """CPU seconds of all its processes so far, those included that have ended."""
        used = [process.cpu_times() for process in _tree(self._process.pid)]
        return float(sum(one.user + one.system for one in used) + used[0].children_user + used[0].children_system)

    def peak_bytes(self) -> int:
        """Sum of its processes' peaks; what they share counts as often as they are."""
        return sum(_high_water_bytes(process.pid) for process in _tree(self._process.pid))

    def label(self, payload: Payload) -> str:
        """The first label that it answers; raises AnswerError when that is no 200."""
        return first_label(self._ask(payload))

    def wait(self, payload: Payload) -> None:
        """Until it answers ``payload`` with 200; raises AnswerError when it ends or takes minutes."""
        ends_s = time.monotonic() + _START_S
        while True:
            try:
                self._ask(payload)
                return
            except (AnswerError, OSError) as error:
                refused = isinstance(error, AnswerError) and error.status in _REFUSALS
                if refused or self._process.poll() is not None or time.monotonic() > ends_s:
                    raise AnswerError(f"{self.contender.name} does not answer: {error}\n{self._log_end()}") from None
                time.sleep(_POLL_S)

    def _ask(self, payload: Payload) -> bytes:
        with contextlib.closing(Connection(*self.place, payload.request(self.contender.path))) as connection:
            return connection.ask()

    def _log_end(self) -> str:
        self._log.seek(0)
        return self._log.read()[-3000:].decode(errors="replace")


@contextlib.contextmanager
def running(contender: Contender, payload: Payload) -> Iterator[Running]:
    """``contender`` for the block, from its first answer to ``payload`` on; raises AnswerError."""
    port = free_port()
    command = [part.format(port=port) for part in contender.command]
    environment = os.environ | contender.environment
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            server = Running(contender, port, process, log)
            server.wait(payload)
            yield server
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the server, SIGKILL to what it leaves behind, be it in sessions of its own."""
    tree = _tree(process.pid)
    _signal(tree, signal.SIGCONT)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    _signal(tree, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(_STOP_S)


def _tree(pid: int) -> list[psutil.Process]:
    """A process and all below it; none where it has ended."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _high_water_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:")), 0)
