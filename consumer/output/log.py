"""Structured log lines on stderr, as text or JSON; callers pass fields in ``extra``."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

from consumer.shown_text import escaped, without_credentials

LogFormat = Literal["text", "json"]

_PLAIN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """Time, level and event, then the fields as ``key=value``; values with blanks are quoted as in JSON.

    What cannot be printed is escaped, so that no text of others adds a line or a control sequence for the terminal; the
    lines of a stack trace follow, indented.
    """

    def format(self, record: logging.LogRecord) -> str:
        return without_credentials(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 the name is that of the standard library
        fields = {name: value for name, value in vars(record).items() if name not in _PLAIN_ATTRIBUTES}
        texts = (f"{name}={_quoted(value)}" for name, value in fields.items())
        return " ".join([escaped(super().formatMessage(record)), *texts])

    def formatException(self, exc_info: Any) -> str:  # noqa: N802 the name is that of the standard library
        return "\n".join(f"  {escaped(line)}" for line in super().formatException(exc_info).split("\n"))


class JsonLineFormatter(JsonFormatter):
    """A line of JSON without users and passwords of URLs, which could be in the text of a library's exception."""

    def format(self, record: logging.LogRecord) -> str:
        return without_credentials(super().format(record))


def configure_log(log_format: LogFormat) -> None:
    """Write all log records to stderr in ``log_format``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_json_formatter() if log_format == "json" else _text_formatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


def _text_formatter() -> logging.Formatter:
    return TextFormatter("%(asctime)s %(levelname)s %(message)s")


def _json_formatter() -> logging.Formatter:
    renamed = {"levelname": "level", "message": "event"}
    return JsonLineFormatter(["levelname", "message"], timestamp="time", rename_fields=renamed)


def _quoted(value: object) -> str:
    text = str(value)
    needs_quotes = not text or any(mark.isspace() or mark in '"=' for mark in text)
    return escaped(json.dumps(text, ensure_ascii=False) if needs_quotes else text)
