"""Log lines on standard error, above the progress bar."""

from __future__ import annotations

import logging

from rich.console import Console

from commandline.text_log import TextFormatter


class ConsoleHandler(logging.Handler):
    """Prints records through ``console``, which keeps its bar below them."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console
        # Ray adds a field to every record of the process.
        self.setFormatter(TextFormatter(hidden=("_ray_timestamp_ns",)))

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(self.format(record), markup=False, highlight=False, soft_wrap=True, emoji=False)


def configure_log(console: Console) -> None:
    """Write all log records through ``console``."""
    logging.basicConfig(handlers=[ConsoleHandler(console)], level=logging.INFO, force=True)
