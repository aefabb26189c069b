"""The log as people read it at a terminal: a line per clip that fits, in colour, and the progress in the last line."""

from __future__ import annotations

import logging
import os
import shutil
import time
from datetime import datetime
from typing import TextIO

from consumer.output.text_log import TextFormatter
from consumer.shown_text import escaped, without_credentials

WIDEST = 100
SOURCE_WIDTH = 20
SPAN_WIDTH = 17

CLEAR_LINE = "\r\x1b[K"
DIM, RED, GREEN, YELLOW, CYAN = "2", "31", "32", "33", "36"
COLOURS_OF_LEVELS = {"WARNING": YELLOW, "ERROR": RED, "CRITICAL": RED}
CONFIDENT = 0.5


class TerminalFormatter(TextFormatter):
    """A line of at most 100 columns, or the terminal's width, for each clip; other lines have all their fields."""

    def __init__(self, colour: bool) -> None:
        super().__init__("%(message)s")
        self._colour = colour

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 the name is that of the standard library
        shown_at = self._paint(time.strftime("%H:%M:%S", time.localtime(record.created)), DIM)
        if record.getMessage() == "clip":
            return f"{shown_at} {self._clip(vars(record))}"
        text = super().formatMessage(record)
        if record.getMessage() == "progress":
            return text[: columns()]
        return f"{shown_at} {self._paint(text, COLOURS_OF_LEVELS.get(record.levelname))}"

    def _clip(self, fields: dict[str, object]) -> str:
        confidence = float(str(fields["confidence"]))
        room = columns() - len("HH:MM:SS ") - SOURCE_WIDTH - SPAN_WIDTH - len(" 100 %") - 3
        source, label = (escaped(without_credentials(str(fields[name]))) for name in ("source", "label"))
        # The end of a path or address tells sources apart, the start of a label tells actions apart.
        source = source if len(source) <= SOURCE_WIDTH else "…" + source[1 - SOURCE_WIDTH :]
        label = label if len(label) <= room else label[: max(room - 1, 0)] + "…"
        share = self._paint(f"{confidence * 100:4.0f} %", GREEN if confidence >= CONFIDENT else DIM)
        return f"{self._paint(f'{source:<{SOURCE_WIDTH}}', CYAN)} {_span(fields):<{SPAN_WIDTH}} {share} {label}"

    def _paint(self, text: str, colour: str | None) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour and colour else text


class TerminalHandler(logging.StreamHandler[TextIO]):
    """Writes records above a last line that shows the progress; the summary removes that line."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._status = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record``, or replace the line of the progress."""
        try:
            event, text = record.getMessage(), self.format(record)
            if event in ("progress", "summary"):
                self._status = text if event == "progress" else ""
            line = "" if event == "progress" else f"{text}\n"
            clear = CLEAR_LINE if event == "progress" or self._status or event == "summary" else ""
            self.stream.write(f"{clear}{line}{self._status}")
            self.flush()
        except Exception:
            self.handleError(record)


def columns() -> int:
    """The width of a line: that of the terminal, but at most 100 columns."""
    return min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)


def wants_colour() -> bool:
    """Whether the terminal shows colours and the user has not forbidden them (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _span(fields: dict[str, object]) -> str:
    if "start" in fields:
        start, end = (datetime.fromisoformat(str(fields[name])).astimezone() for name in ("start", "end"))
        return f"{start:%H:%M:%S}-{end:%H:%M:%S}"
    return f"{float(str(fields['start_s'])):.1f}-{float(str(fields['end_s'])):.1f} s"
