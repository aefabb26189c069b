"""What the operating system tells the process."""

from __future__ import annotations

import asyncio
import signal


class Signals:
    """``stop``: SIGTERM or SIGINT came, a second one ends the process at once. ``reload``: SIGHUP came."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()
        self.in_haste = False
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop, number)
        self._loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    def _stop(self, number: signal.Signals) -> None:
        # From here on the system's own handling, which works even where the event loop does not.
        for each in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        # A person at a terminal waits for no load balancer.
        self.in_haste = number is signal.SIGINT
        self.stop.set()
