"""The instances of a fleet: whole servers on stand-in engines, each with a device and a port of its own."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from engines.storage.bundle import DEMO
from tests.live_server import LiveServer
from tests.ports import free_port

# Longer than HAProxy takes to notice that an instance is not ready.
DRAIN_DELAY_S = 3


class Instance:
    """A server that can be stopped and started again at the same address."""

    def __init__(self, number: int, pace: str) -> None:
        self.number = number
        self._port = free_port()
        self._environment = {"STAND_IN": pace, "STAND_IN_DEVICE": str(self._port)}
        self.server = self._started()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        self.server = self._started()

    def drain(self) -> None:
        """SIGTERM, which is announced to load balancers; returns when the process has ended."""
        self._end(signal.SIGTERM)

    def stop_at_once(self) -> None:
        """SIGINT, which waits for no load balancer; returns when the process has ended."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        self.server.process.kill()
        self.server.wait()

    def freeze(self) -> None:
        self.server.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.server.process.send_signal(signal.SIGCONT)

    def swap(self) -> None:
        """SIGHUP; returns when the new engine is in service."""
        swaps = len(self.server.entries("engine swapped"))
        self.server.process.send_signal(signal.SIGHUP)
        self.server.wait_for("engine swapped", swaps + 1)

    def _end(self, number: signal.Signals) -> None:
        self.server.process.send_signal(number)
        if code := self.server.wait():
            raise RuntimeError(f"instance {self.number} ended with {code}: {self.server.log[-5:]}")

    def _started(self) -> LiveServer:
        # The stand-in's answers are not those of the bundle's reference clips.
        flags = ("--port", str(self._port), "--drain-delay-s", str(DRAIN_DELAY_S), "--canary-s", "off")
        return LiveServer(DEMO, *flags, module="tests.latency.stand_in", environment=self._environment)


@contextlib.contextmanager
def instances(count: int, pace: str) -> Iterator[list[Instance]]:
    """``count`` instances that are ready; killed at the end of the block."""
    with contextlib.ExitStack() as stack:
        started: list[Instance] = []
        for number in range(1, count + 1):
            started.append(Instance(number, pace))
            stack.callback(started[-1].kill)
        yield started
