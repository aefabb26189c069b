"""``python -m server`` as a process of its own, for the tests that talk to it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


class LiveServer:
    """A running ``python -m server`` on a free port; ``log`` grows with its lines."""

    def __init__(self, bundle: Path, *arguments: str, until: str = "ready") -> None:
        command = [sys.executable, "-m", "server", str(bundle), "--port", "0", "--log-format", "json", *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        self.log: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = str(self.wait_for(until)["url"])

    def wait_for(self, event: str) -> dict[str, Any]:
        """The log entry of ``event``, once it is there; fails with the log when the server ends without it."""
        with self._news:
            self._news.wait_for(lambda: self._found(event) or self._ended, 60)
            found = self._found(event)
        if found is None:
            pytest.fail(f"no {event!r} in the server's log: {self.log}")
        return found

    def stop(self) -> int:
        """SIGTERM; the exit code, with the whole log read."""
        self.process.terminate()
        return self.wait()

    def wait(self) -> int:
        """The exit code, with the whole log read."""
        code = self.process.wait(60)
        self._reader.join(60)
        return code

    def _found(self, event: str) -> dict[str, Any] | None:
        return next((entry for entry in self.log if entry["event"] == event), None)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.log.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


@contextlib.contextmanager
def serving(bundle: Path, *arguments: str, until: str = "ready") -> Iterator[LiveServer]:
    """A live server for the block; killed after it when it has not stopped by then."""
    server = LiveServer(bundle, *arguments, until=until)
    try:
        yield server
    finally:
        server.process.kill()
        server.wait()


def run_module(module: str, *arguments: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    """``python -m module arguments`` as a user runs it, to its end."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=timeout_s, check=False)
