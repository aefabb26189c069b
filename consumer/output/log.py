"""Structured log lines on stderr, as text, JSON, or for a terminal; callers pass fields in ``extra``."""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO

from pythonjsonlogger.json import JsonFormatter

from consumer.output.terminal import TerminalFormatter, TerminalHandler, wants_colour
from consumer.output.text_log import TextFormatter
from consumer.shown_text import without_credentials

LogFormat = Literal["text", "json"]


class JsonLineFormatter(JsonFormatter):
    """A line of JSON without users and passwords of URLs, which could be in the text of a library's exception."""

    def format(self, record: logging.LogRecord) -> str:
        return without_credentials(super().format(record))


def configure_log(log_format: LogFormat) -> None:
    """Write all log records to stderr in ``log_format``; at a terminal, text is short and in colour."""
    if log_format == "text" and on_terminal():
        handler: logging.StreamHandler[TextIO] = TerminalHandler(sys.stderr)
        handler.setFormatter(TerminalFormatter(wants_colour()))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_json_formatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


def on_terminal() -> bool:
    """Whether stderr is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def _json_formatter() -> logging.Formatter:
    renamed = {"levelname": "level", "message": "event"}
    return JsonLineFormatter(["levelname", "message"], timestamp="time", rename_fields=renamed)
