"""The consumer as it is used: a process of its own, whose log is read as it grows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
UNREACHABLE_URL = "http://127.0.0.1:9"
TIMEOUT_S = 90


@dataclass(frozen=True)
class Ended:
    """How a run ended; ``errors`` are the lines of its stderr."""

    code: int
    output: list[str]
    errors: list[str]

    @property
    def failures(self) -> list[str]:
        """The lines of the errors in the log."""
        return [line for line in self.errors if " ERROR " in line]


async def start(
    *arguments: str | Path, stdout: int = asyncio.subprocess.PIPE, environment: dict[str, str] | None = None
) -> asyncio.subprocess.Process:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VJEPA_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumer", *map(str, arguments)),
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=inherited | (environment or {}),
        limit=2**20,
        # A test run in a shell's background would hand down that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


async def end(process: asyncio.subprocess.Process) -> Ended:
    output, errors = await process.communicate()
    output = output or b""
    assert process.returncode is not None
    assert b"Traceback" not in errors
    return Ended(process.returncode, output.decode().splitlines(), errors.decode().splitlines())


async def consume(*arguments: str | Path, environment: dict[str, str] | None = None) -> Ended:
    return await end(await start(*arguments, environment=environment))


class Consumer:
    """A running consumer; ``log`` and ``output`` grow."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[dict[str, Any]] = []
        self.output: list[dict[str, Any]] = []
        self._news = asyncio.Condition()
        self._readers = asyncio.gather(self._read(process.stderr, self.log), self._read(process.stdout, self.output))

    async def _read(self, stream: asyncio.StreamReader | None, lines: list[dict[str, Any]]) -> None:
        assert stream is not None
        async for line in stream:
            async with self._news:
                lines.append(json.loads(line))
                self._news.notify_all()

    def entries(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The log entries of ``event`` with these fields so far."""
        return [each for each in self.log if each["event"] == event and fields.items() <= each.items()]

    async def until(self, event: str, count: int = 1, **fields: object) -> dict[str, Any]:
        """The ``count``-th such log entry, once it is there."""
        try:
            async with asyncio.timeout(TIMEOUT_S), self._news:
                await self._news.wait_for(lambda: len(self.entries(event, **fields)) >= count)
        except TimeoutError:
            raise AssertionError(f"no {event!r} number {count} in {self.log}") from None
        return self.entries(event, **fields)[count - 1]

    async def until_output(self, count: int) -> list[dict[str, Any]]:
        """The lines of stdout, once there are that many."""
        try:
            async with asyncio.timeout(TIMEOUT_S), self._news:
                await self._news.wait_for(lambda: len(self.output) >= count)
        except TimeoutError:
            raise AssertionError(f"only {len(self.output)} lines; log: {self.log}") from None
        return self.output

    async def stop(self, signal_number: int = signal.SIGINT) -> int:
        """Send the signal; the exit code, with everything read. No line of the log was anything but JSON."""
        self.process.send_signal(signal_number)
        return await self.ended()

    async def ended(self) -> int:
        async with asyncio.timeout(TIMEOUT_S):
            await self._readers
            return await self.process.wait()


@contextlib.asynccontextmanager
async def consuming(*arguments: str | Path, environment: dict[str, str] | None = None) -> AsyncIterator[Consumer]:
    """A consumer for the block, with its log as JSON; killed after it when it has not ended by then."""
    process = await start(*arguments, "--log-format", "json", environment=environment)
    consumer = Consumer(process)
    try:
        yield consumer
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
