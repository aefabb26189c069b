"""``python -m tests.latency.generator HOST PORT CLIENTS SECONDS LABEL < REQUEST``: the load of all benchmarks.

A thread and a blocking socket for each client, a request that is made once, and an answer that is searched for its end:
what it costs beside the server on two cores is a few system calls a request. Needs the standard library only. Prints a
JSON object; ends with 1 when an answer is not a 200 whose first label is LABEL.
"""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import sys
import threading
import time

_BUFFER_BYTES = 64 * 2**10
_TIMEOUT_S = 120
_LEAST_REQUESTS = 2
_OK = 200
_LAST_CHUNK = b"0\r\n\r\n"


class AnswerError(Exception):
    """The server did not answer as it should; ``status`` is that of a whole answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Connection:
    """A keep-alive connection that sends ``request`` and returns the answers' bodies."""

    def __init__(self, host: str, port: int, request: bytes) -> None:
        self._request = request
        self._socket = socket.create_connection((host, port), _TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> bytes:
        """The body of a 200; raises AnswerError."""
        self._socket.sendall(self._request)
        answer = bytearray()
        while (end := answer.find(b"\r\n\r\n")) < 0:
            self._receive(answer)
        head = bytes(answer[:end]).lower()
        while not _is_whole(head, answer, end + 4):
            self._receive(answer)
        body = bytes(answer[end + 4 :])
        if (status := int(head.split(None, 2)[1])) != _OK:
            raise AnswerError(f"{head.decode()}\n{body[:1000].decode(errors='replace')}", status)
        return body

    def close(self) -> None:
        self._socket.close()

    def _receive(self, answer: bytearray) -> None:
        piece = self._socket.recv(_BUFFER_BYTES)
        if not piece:
            raise AnswerError(f"the server closed the connection after {bytes(answer[:1000])!r}")
        answer += piece


def first_label(body: bytes) -> str:
    """Of an answer's predictions, which servers space differently."""
    _, _, after = body.partition(b'"label"')
    return after.lstrip(b" :").split(b'"', 2)[1].decode() if after else ""


class Client(threading.Thread):
    """Asks once, waits for ``start``, then asks for ``seconds``, at least twice; ``error`` is what went wrong."""

    def __init__(
        self, place: tuple[str, int], request: bytes, seconds: float, label: str, start: threading.Barrier
    ) -> None:
        super().__init__(daemon=True)
        self._place, self._request, self._seconds, self._label = place, request, seconds, label
        self._start_barrier = start
        self.latencies_ms: list[float] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            connection = Connection(*self._place, self._request)
            connection.ask()
            self._start_barrier.wait()
            self._ask_until(connection, time.perf_counter() + self._seconds)
        except threading.BrokenBarrierError:
            pass  # another client's error is told
        except Exception as error:
            self.error = error
            self._start_barrier.abort()

    def _ask_until(self, connection: Connection, ends_s: float) -> None:
        while (began_s := time.perf_counter()) < ends_s or len(self.latencies_ms) < _LEAST_REQUESTS:
            body = connection.ask()
            self.latencies_ms.append(round((time.perf_counter() - began_s) * 1e3, 4))
            if (said := first_label(body)) != self._label:
                raise AnswerError(f"answered {said!r} instead of {self._label!r}")


def load(place: tuple[str, int], request: bytes, clients: int, seconds: float, label: str) -> dict[str, object]:
    """``clients`` connections, each with one request after the other; raises what a client met."""
    start = threading.Barrier(clients + 1)
    threads = [Client(place, request, seconds, label, start) for _ in range(clients)]
    for thread in threads:
        thread.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        start.wait()
    began_s, cpu_s = time.perf_counter(), _cpu_s()
    for thread in threads:
        thread.join()
    for thread in threads:
        if thread.error is not None:
            raise thread.error
    latencies_ms = [latency_ms for thread in threads for latency_ms in thread.latencies_ms]
    return {"latencies_ms": latencies_ms, "elapsed_s": time.perf_counter() - began_s, "cpu_s": _cpu_s() - cpu_s}


def main() -> int:
    host, port, clients, seconds, label = sys.argv[1:]
    try:
        result = load((host, int(port)), sys.stdin.buffer.read(), int(clients), float(seconds), label)
    except (AnswerError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    json.dump(result, sys.stdout)
    return 0


def _is_whole(head: bytes, answer: bytearray, body_at: int) -> bool:
    _, _, length = head.partition(b"content-length:")
    if length:
        return len(answer) >= body_at + int(length.split(b"\r\n", 1)[0])
    return answer.endswith(_LAST_CHUNK)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
