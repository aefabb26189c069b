"""Log records as lines of text with ``key=value`` fields."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

from consumer.shown_text import escaped, without_credentials

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
        texts = (f"{name}={_quoted(value)}" for name, value in _flat(fields))
        return " ".join([escaped(super().formatMessage(record)), *texts])

    def formatException(self, exc_info: Any) -> str:  # noqa: N802 the name is that of the standard library
        return "\n".join(f"  {escaped(line)}" for line in super().formatException(exc_info).split("\n"))


def _flat(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """The fields with those of dictionaries as ``name.key``, and the values of sequences separated by commas."""
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _quoted(value: object) -> str:
    text = str(value)
    needs_quotes = not text or any(mark.isspace() or mark in '"=' for mark in text)
    return escaped(json.dumps(text, ensure_ascii=False) if needs_quotes else text)
