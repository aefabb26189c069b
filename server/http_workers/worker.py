"""One HTTP worker process, as the engine process sees it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

from engines.errors import ConfigurationError, EngineError, NotReadyError
from server.http_workers.messages import Begin
from server.http_workers.segment import Segment
from server.http_workers.worker_link import WorkerLink
from server.settings import Settings

# On a machine that has no time, too.
_BIRTH_S = 120
# For a process that has closed its end of the line and yet does not end.
_LAST_BREATH_S = 10


class Worker:
    """Made by ``spawned``; ``link`` is the line to it."""

    def __init__(
        self, number: int, owner: int, process: asyncio.subprocess.Process, door: socket.socket, link: WorkerLink
    ) -> None:
        self.number = number
        self.owner = owner
        self.link = link
        self._process = process
        self._door = door
        door.setblocking(False)

    @classmethod
    async def spawned(cls, number: int, owner: int, settings: Settings, segment: Segment, link: WorkerLink) -> Worker:
        """A new process that takes connections.

        Raises:
            ConfigurationError: it cannot serve with these settings.
            EngineError: it ended before it could serve, or did not come so far.
        """
        line, their_line = socket.socketpair()
        door, their_door = socket.socketpair()
        with their_line, their_door:
            process = await _started(their_line.fileno(), their_door.fileno(), segment.fd)
        worker = cls(number, owner, process, door, link)
        await link.connect(line)
        link.send(Begin(number, owner, settings))
        await worker._until_it_serves()
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    def hand(self, connection: int) -> bool:
        """Give it a client's connection, a file descriptor; whether it is there to take it."""
        if self.link.ended.is_set():
            return False
        try:
            socket.send_fds(self._door, [b"\0"], [connection])
        except OSError:  # it has just died, or is stuck with hundreds that it has not taken yet
            return False
        self.link.handed += 1
        return True

    async def gone(self) -> int:
        """Wait for it to end; its exit code."""
        process = asyncio.create_task(self._process.wait())
        link = asyncio.create_task(self.link.ended.wait())
        await asyncio.wait([process, link], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([process], timeout=_LAST_BREATH_S)
        if not process.done():
            self.kill()
        code = await process
        await link
        self._door.close()
        return code

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _until_it_serves(self) -> None:
        try:
            async with asyncio.timeout(_BIRTH_S):
                await self.link.serving
        except TimeoutError:
            self.kill()
            raise EngineError(f"HTTP worker {self.number} did not serve within {_BIRTH_S} s") from None
        except ConfigurationError:
            await self.gone()
            raise
        except NotReadyError:
            code = await self.gone()
            raise EngineError(f"HTTP worker {self.number} ended with code {code} before it served") from None
        except asyncio.CancelledError:
            self.kill()
            raise


async def _started(*fds: int) -> asyncio.subprocess.Process:
    """In a session of its own, so that a terminal's Ctrl-C does not reach it: it is told when to stop."""
    command = (sys.executable, "-m", "server.http_workers", *map(str, fds))
    return await asyncio.create_subprocess_exec(
        *command, pass_fds=fds, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
    )
