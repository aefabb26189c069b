"""Structured logs on standard error: JSON lines for log collectors, or text with the same fields for people."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError
from pythonjsonlogger.json import JsonFormatter

from server.config.settings import LogFormat
from server.telemetry.log_queue import LogQueue

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

_PLAIN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request_id", "taskName"}


class RequestIdFilter(logging.Filter):
    """Adds the id of the current request to each record that is logged while the request is handled."""

    def filter(self, record: logging.LogRecord) -> bool:
        if (current := request_id.get()) is not None:
            record.request_id = current
        return True


class MalformedHttpFilter(logging.Filter):
    """Replaces aiohttp's stack trace for invalid HTTP by one line, because port scanners cause it often."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (HttpProcessingError, RequestPayloadError)):
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.msg, record.args, record.exc_info = "malformed request", (), None
            record.error = " ".join(str(error).split())[:200]
        return True


class TextFormatter(logging.Formatter):
    """Formats time, level, message and the extra fields as ``key=value``; values with spaces are quoted.

    Whatever a client wrote, a record is one line without control characters; the lines of a stack trace follow it,
    indented. So no text can pass for a record, or control a terminal.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, a method of logging.Formatter
        fields: dict[str, Any] = {k: v for k, v in vars(record).items() if k not in _PLAIN_ATTRIBUTES}
        text = _escaped(super().formatMessage(record))
        return " ".join([text, *(f"{name}={_quoted(value)}" for name, value in _flat(fields))])

    def formatException(self, exc_info: Any) -> str:  # noqa: N802, a method of logging.Formatter
        return "\n".join(f"  {_escaped(line)}" for line in super().formatException(exc_info).split("\n"))


def configure_logs(log_format: LogFormat, level: str) -> None:
    """Log to standard error in ``log_format``; ``auto`` means text on a terminal and JSON otherwise."""
    handler = LogQueue(sys.stderr.fileno() if sys.stderr else os.open(os.devnull, os.O_WRONLY))
    handler.addFilter(RequestIdFilter())
    text = log_format == "text" or (log_format == "auto" and os.isatty(handler.fd))
    handler.setFormatter(TextFormatter("%(asctime)s %(levelname)s %(message)s") if text else _json_formatter())
    logging.getLogger("aiohttp.server").addFilter(MalformedHttpFilter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # Libraries warn about odd images; Python would write that to standard error itself, and wait for its reader.
    logging.captureWarnings(True)


def _flat(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """The fields with those of dictionaries as ``name.key``, and the values of sequences separated by commas."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _quoted(value: object) -> str:
    text = str(value)
    if text.isprintable() and text and not set(text) & set(' "='):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _escaped(text: str) -> str:
    """``text`` with every control character, line separator and mark that reverses text as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _json_formatter() -> logging.Formatter:
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        timestamp="time",
        rename_fields={"levelname": "level", "name": "logger", "message": "event"},
    )
