"""Log records as lines of text with ``key=value`` fields, for people."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

TEXT = "%(asctime)s %(levelname)s %(message)s"

_PLAIN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """Time, level and event, then the fields as ``key=value``; values with blanks are quoted as in JSON.

    Whatever others wrote, a record is one line without control characters, and the lines of a stack trace follow it,
    indented. So no text can pass for a record, or control a terminal. ``text``: what comes before the fields, in the
    form of ``logging``; ``hidden``: fields that are not shown.
    """

    def __init__(self, text: str = TEXT, hidden: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self._hidden = _PLAIN_ATTRIBUTES | set(hidden)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 the name is that of the standard library
        fields = {name: value for name, value in vars(record).items() if name not in self._hidden}
        texts = (f"{name}={_quoted(value)}" for name, value in _flat(fields))
        return " ".join([_escaped(super().formatMessage(record)), *texts])

    def formatException(self, exc_info: Any) -> str:  # noqa: N802 the name is that of the standard library
        return "\n".join(f"  {_escaped(line)}" for line in super().formatException(exc_info).split("\n"))


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
