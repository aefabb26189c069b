"""Records the errors of TensorRT, whose calls return only False or None and report the reason to a logger."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from engines.runtimes.tensorrt.library import Library

if TYPE_CHECKING:
    import tensorrt_rtx as trt

_MOST_KEPT = 32


class ErrorLog:
    """The latest errors, each with its code if known; any thread of the library may add one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._errors: deque[tuple[str, str]] = deque(maxlen=_MOST_KEPT)

    def add(self, code: str, text: str) -> None:
        with self._lock:
            self._errors.append((code, text.strip()))

    def clear(self) -> None:
        with self._lock:
            self._errors.clear()

    def entries(self) -> list[tuple[str, str]]:
        """The code and the text of each error, the oldest first."""
        with self._lock:
            return list(self._errors)

    @property
    def out_of_memory(self) -> bool:
        return any(code == "FAILED_ALLOCATION" or "out of memory" in text.lower() for code, text in self.entries())

    def __str__(self) -> str:
        entries = self.entries()
        # The first error is the cause; the later ones are its consequences.
        return " ".join(part for part in reversed(entries[0]) if part) if entries else "it gave no reason"


def logger_into(library: Library, log: ErrorLog) -> trt.ILogger:
    """A logger that adds errors to ``log`` and drops less severe messages."""

    class Logger(library.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity <= library.ILogger.ERROR:
                log.add("", msg)

    made: trt.ILogger = Logger()
    return made


def recorder_into(library: Library, log: ErrorLog) -> trt.IErrorRecorder:
    """A recorder for one runtime or context; it adds each error to ``log`` with its code."""

    class Recorder(library.IErrorRecorder):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.IErrorRecorder.__init__(self)

        def clear(self) -> None:
            log.clear()

        def get_error_code(self, arg0: int) -> trt.ErrorCodeTRT:
            name = log.entries()[arg0][0]
            code: trt.ErrorCodeTRT = getattr(library.ErrorCodeTRT, name)
            return code

        def get_error_desc(self, arg0: int) -> str:
            return log.entries()[arg0][1]

        def has_overflowed(self) -> bool:
            return False

        def num_errors(self) -> int:
            return len(log.entries())

        def report_error(self, arg0: trt.ErrorCodeTRT, arg1: str) -> bool:
            log.add(arg0.name, arg1)
            return False

    made: trt.IErrorRecorder = Recorder()
    return made
