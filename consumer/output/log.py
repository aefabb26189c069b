"""Structured log lines on stderr, as text or JSON; callers pass fields in ``extra``."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

LogFormat = Literal["text", "json"]

_PLAIN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """Time, level and event, then the fields as ``key=value``; values with blanks are quoted as in JSON.

    Whatever the service answered or a source is called, a record is one line without control characters; the lines of a
    stack trace follow it, indented.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802, a method of logging.Formatter
        fields = {name: value for name, value in vars(record).items() if name not in _PLAIN_ATTRIBUTES}
        text = _escaped(super().formatMessage(record))
        return " ".join([text, *(f"{name}={_quoted(value)}" for name, value in fields.items())])

    def formatException(self, exc_info: Any) -> str:  # noqa: N802, a method of logging.Formatter
        return "\n".join(f"  {_escaped(line)}" for line in super().formatException(exc_info).split("\n"))


def configure_log(log_format: LogFormat) -> None:
    """Write all log records to stderr in ``log_format``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_json_formatter() if log_format == "json" else _text_formatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


def _text_formatter() -> logging.Formatter:
    return TextFormatter("%(asctime)s %(levelname)s %(message)s")


def _json_formatter() -> logging.Formatter:
    renamed = {"levelname": "level", "message": "event"}
    return JsonFormatter(["levelname", "message"], timestamp="time", rename_fields=renamed)


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
