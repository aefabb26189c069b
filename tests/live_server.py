"""``python -m server`` as a process of its own, for the tests that talk to it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


class LiveServer:
    """A running ``python -m server``, or another ``module`` with its flags, on a free port; ``log`` grows.

    ``most_files`` is the largest number of files that the process may open; None leaves the system's. ``environment``
    is added to this process's own.
    """

    def __init__(
        self,
        bundle: Path,
        *arguments: str,
        until: str = "ready",
        module: str = "server",
        most_files: int | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        command = [sys.executable, "-m", module, str(bundle), "--port", "0", "--log-format", "json", *arguments]
        pipe = subprocess.PIPE
        limit = None if most_files is None else lambda: _limit_files(most_files)
        self.process = subprocess.Popen(
            command,
            stdin=pipe,
            stderr=pipe,
            text=True,
            bufsize=1,
            cwd=ROOT,
            preexec_fn=limit,
            env=os.environ | environment,
        )
        self.log: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = str(self.wait_for(until)["url"])

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """The ``count``-th log entry of ``event``, once it is there; fails when the server ends without it."""
        with self._news:
            self._news.wait_for(lambda: len(self.entries(event)) >= count or self._ended, 60)
            found = self.entries(event)
        if len(found) < count:
            pytest.fail(f"no {event!r} (number {count}) in the server's log: {self.log}")
        return found[count - 1]

    def entries(self, event: str) -> list[dict[str, Any]]:
        """All log entries of ``event`` so far."""
        return [entry for entry in self.log if entry["event"] == event]

    def tell(self, word: str) -> None:
        """Write a line to the server's standard input, which only a test's own module reads."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def stop(self) -> int:
        """SIGTERM; the exit code, with the whole log read."""
        self.process.terminate()
        return self.wait()

    def wait(self) -> int:
        """The exit code, with the whole log read."""
        code = self.process.wait(60)
        self._reader.join(60)
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.log.append(_entry(line))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


def _limit_files(most: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _entry(line: str) -> dict[str, Any]:
    """A line of the log; what libraries print past it is kept as its event."""
    try:
        return dict(json.loads(line))
    except ValueError:
        return {"event": line.strip(), "level": "PRINTED"}


@contextlib.contextmanager
def serving(bundle: Path, *arguments: str, **options: Any) -> Iterator[LiveServer]:
    """A live server for the block, with the ``options`` of it; killed after it when it has not stopped by then."""
    server = LiveServer(bundle, *arguments, **options)
    try:
        yield server
    finally:
        server.process.kill()
        server.wait()


def run_module(module: str, *arguments: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    """``python -m module arguments`` as a user runs it, to its end."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=timeout_s, check=False)
