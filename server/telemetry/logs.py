"""Structured logs on standard error: JSON lines for log collectors, or text with the same fields for people."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError
from pythonjsonlogger.json import JsonFormatter

from server.config.settings import LogFormat

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
    """Formats time, level, message and the extra fields as ``key=value``; values with spaces are quoted."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {k: v for k, v in vars(record).items() if k not in _PLAIN_ATTRIBUTES}
        text = super().format(record)
        return " ".join([text, *(f"{name}={_quoted(value)}" for name, value in fields.items())])


def configure_logs(log_format: LogFormat, level: str) -> None:
    """Log to standard error in ``log_format``; ``auto`` means text on a terminal and JSON otherwise."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RequestIdFilter())
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler.setFormatter(TextFormatter("%(asctime)s %(levelname)s %(message)s") if text else _json_formatter())
    logging.getLogger("aiohttp.server").addFilter(MalformedHttpFilter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or set(text) & set(' "=') else text


def _json_formatter() -> logging.Formatter:
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        timestamp="time",
        rename_fields={"levelname": "level", "name": "logger", "message": "event"},
    )
