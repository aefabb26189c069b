"""Log records as lines of text without users and passwords of URLs."""

from __future__ import annotations

import logging

from commandline import text_log
from consumer.shown_text import without_credentials


class TextFormatter(text_log.TextFormatter):
    """Any text may name a URL, also that of a library's exception."""

    def format(self, record: logging.LogRecord) -> str:
        return without_credentials(super().format(record))
