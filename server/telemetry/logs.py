"""Structured logs on standard error: JSON lines for log collectors, or text with the same fields for people."""

from __future__ import annotations

import logging
import os
import sys
from contextvars import ContextVar

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError
from pythonjsonlogger.json import JsonFormatter

from commandline.text_log import TextFormatter
from server.config.settings import LogFormat
from server.telemetry.log_queue import LogQueue

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


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


def configure_logs(log_format: LogFormat, level: str) -> None:
    """Log to standard error in ``log_format``; ``auto`` means text on a terminal and JSON otherwise."""
    handler = LogQueue(sys.stderr.fileno() if sys.stderr else os.open(os.devnull, os.O_WRONLY))
    handler.addFilter(RequestIdFilter())
    text = log_format == "text" or (log_format == "auto" and os.isatty(handler.fd))
    handler.setFormatter(TextFormatter(hidden=("request_id",)) if text else _json_formatter())
    logging.getLogger("aiohttp.server").addFilter(MalformedHttpFilter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # Libraries warn about odd images; Python would write that to standard error itself, and wait for its reader.
    logging.captureWarnings(True)


def _json_formatter() -> logging.Formatter:
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        timestamp="time",
        rename_fields={"levelname": "level", "name": "logger", "message": "event"},
    )
