"""Writes log lines in a thread, so that a standard error that nobody reads holds up neither requests nor a stop."""

from __future__ import annotations

import logging
import os
import queue
import select
import threading
import time

from prometheus_client import Counter

DROPPED_LINES = Counter(
    "vjepa_log_lines_dropped", "Log lines dropped because standard error was not read", registry=None
)
# About ten thousand lines of the access log.
_MAX_WAITING_BYTES = 4 * 2**20
# A pipe takes 64 KiB on Linux.
_BATCH_BYTES = 2**16
# The thread lets lines gather for so long: to wake it for each line costs a request more than to write the line.
_GATHER_S = 0.01
# The end of the process waits for its log as long as somebody reads it, but not for ever.
_PATIENCE_S = 1
_MAX_FLUSH_S = 5


class LogQueue(logging.Handler):
    """Puts each line into a bounded queue, from which one thread writes to the descriptor ``fd``.

    Lines for which there is no room are dropped and counted. The first line after a gap is preceded by one that tells
    how many are missing.

    Invariants: ``logging`` calls ``emit`` with the handler's lock held, which protects ``_put_bytes`` and ``_missing``.
    Only the thread changes ``_taken_bytes``, after the bytes were written or given up.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.fd = fd
        self._lines: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        self._put_bytes = self._taken_bytes = self._missing = 0
        threading.Thread(target=self._write_lines, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._encoded(record)
        except Exception:  # as in all handlers of logging, a line that cannot be formatted fails no request
            self.handleError(record)
            return
        if self._put_bytes - self._taken_bytes + len(line) > _MAX_WAITING_BYTES:
            self._missing += 1
            DROPPED_LINES.inc()
            return
        if self._missing:
            self._put(self._encoded(_gap(self._missing)))
            self._missing = 0
        self._put(line)

    def flush(self) -> None:
        """Wait until all lines are written; give up after five seconds, or one in which nothing was read."""
        written, until_s = threading.Event(), time.monotonic() + _MAX_FLUSH_S
        self._lines.put(written)
        taken_bytes = -1
        while not written.wait(_PATIENCE_S) and taken_bytes != self._taken_bytes and time.monotonic() < until_s:
            taken_bytes = self._taken_bytes

    def _encoded(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode(errors="backslashreplace")

    def _put(self, line: bytes) -> None:
        self._put_bytes += len(line)
        self._lines.put(line)

    def _write_lines(self) -> None:
        while True:
            batch = [self._lines.get()]
            size_bytes = 0
            if self._lines.empty() and isinstance(batch[0], bytes):
                time.sleep(_GATHER_S)
            while isinstance(item := batch[-1], bytes) and (size_bytes := size_bytes + len(item)) < _BATCH_BYTES:
                try:
                    batch.append(self._lines.get_nowait())
                except queue.Empty:
                    break
            self._write(b"".join(item for item in batch if isinstance(item, bytes)))
            if isinstance(batch[-1], threading.Event):
                batch[-1].set()

    def _write(self, text: bytes) -> None:
        """Write ``text``; what cannot be written because nobody can read it any more is dropped and counted."""
        rest = memoryview(text)
        while rest:
            try:
                written = os.write(self.fd, rest)
            except BlockingIOError:  # another program has made the descriptor non-blocking
                select.select([], [self.fd], [])
                continue
            except OSError:
                DROPPED_LINES.inc(bytes(rest).count(b"\n"))
                written = len(rest)
            self._taken_bytes += written
            rest = rest[written:]


def _gap(lines: int) -> logging.LogRecord:
    record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, "log lines were dropped", None, None)
    record.lines = lines
    return record
