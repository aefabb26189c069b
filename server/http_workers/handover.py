"""New connections, from the process that listens to the HTTP worker that has the fewest."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import cast

from server.http_workers.worker import Worker
from server.metrics import Metrics
from server.problem import raw_problem


class Handover:
    """Makes the protocol of each new connection; what it is given goes to a worker before anything of it is read.

    Cameras keep their connections for days. Where the workers accept themselves, be it from one socket or from one
    each (SO_REUSEPORT), chance decides once for all of those days who works for how many, and connections wait in the
    queue of a worker that is busy or dead. Handed over by count, they are spread evenly whatever came before.
    """

    def __init__(self, workers: Callable[[], Iterable[Worker]], max_connections: int, metrics: Metrics) -> None:
        self._workers = workers
        self._max_connections = max_connections
        self._metrics = metrics
        self._waiting: list[int] = []
        metrics.watch_connections(lambda: self.clients)

    def __call__(self) -> asyncio.Protocol:
        return _Arrival(self._give)

    @property
    def clients(self) -> int:
        """Connections of all workers, and those that wait for one."""
        return sum(worker.link.clients for worker in self._workers()) + len(self._waiting)

    def serve_waiting(self) -> None:
        """There is a new worker."""
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            self._hand(connection)

    def close(self) -> None:
        """Drop those that no worker has taken."""
        while self._waiting:
            os.close(self._waiting.pop())

    def _give(self, transport: asyncio.Transport) -> None:
        if self.clients >= self._max_connections:
            self._metrics.closed("too_many")
            transport.write(raw_problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections"))
            transport.close()
            return
        own: socket.socket = transport.get_extra_info("socket")
        connection = os.dup(own.fileno())
        # Only this process's side of it, without a word to the client.
        transport.abort()
        self._hand(connection)

    def _hand(self, connection: int) -> None:
        """To the first that takes it; while all are being replaced it waits."""
        for worker in sorted(self._workers(), key=lambda worker: worker.link.clients):
            if worker.hand(connection):
                os.close(connection)
                return
        self._waiting.append(connection)


class _Arrival(asyncio.Protocol):
    def __init__(self, give: Callable[[asyncio.Transport], None]) -> None:
        self._give = give

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._give(cast(asyncio.Transport, transport))


class Door:
    """A worker's side: every connection that is handed to it becomes one of its own."""

    def __init__(
        self, end: socket.socket, connections: Callable[[], asyncio.Protocol], taken: Callable[[], None]
    ) -> None:
        self._end = end
        self._connections = connections
        self._taken = taken
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[object]] = set()
        end.setblocking(False)
        self._loop.add_reader(end.fileno(), self._take)

    def close(self) -> None:
        self._loop.remove_reader(self._end.fileno())
        self._end.close()

    def _take(self) -> None:
        """One in a turn of the loop, so that many at once do not delay those that are there."""
        try:
            said, fds, _, _ = socket.recv_fds(self._end, 1, 1)
        except BlockingIOError:
            return
        if not said:
            self._loop.remove_reader(self._end.fileno())
        for fd in fds:
            self._taken()
            client = socket.socket(fileno=fd)
            client.setblocking(False)
            task = self._loop.create_task(self._loop.connect_accepted_socket(self._connections, client))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
