"""HAProxy as it is deployed, and what it says about its servers."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.fleet.instances import Instance
from tests.live_server import ROOT
from tests.ports import free_port

CONFIGURATION = ROOT / "deploy/haproxy.cfg"
BACKENDS = ("clips", "streams")
_WAIT_S = 60


@dataclass(frozen=True)
class Proxy:
    """A running HAProxy: where clients reach it, and where it tells its figures."""

    url: str
    stats_url: str
    log: Path

    async def until(self, instance: Instance, status: str) -> None:
        """Wait until both backends say that ``instance`` is ``status``: UP or DOWN."""
        async with asyncio.timeout(_WAIT_S):
            while not await self._is(instance, status):
                await asyncio.sleep(0.1)

    async def retries(self) -> int:
        """Requests that were sent again so far."""
        return sum(int(row["wretr"] or 0) for row in await self._rows() if row["svname"] == "BACKEND")

    async def clips_of_each(self) -> list[int]:
        """Clips that each instance has been given so far."""
        rows = await self._rows()
        return [int(row["stot"]) for row in rows if row["# pxname"] == "clips" and row["svname"].isdecimal()]

    async def _is(self, instance: Instance, status: str) -> bool:
        rows = [row for row in await self._rows() if row["svname"] == str(instance.number)]
        return len(rows) == len(BACKENDS) and all(row["status"].split()[0] == status for row in rows)

    async def _rows(self) -> list[dict[str, str]]:
        async with aiohttp.request("GET", f"{self.stats_url}/;csv") as answer:
            return list(csv.DictReader((await answer.text()).splitlines()))


def haproxy() -> str | None:
    """The program, if it is installed; Debian's is not in everybody's PATH."""
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")


@contextlib.contextmanager
def proxying(program: str, addresses: Sequence[str], work: Path) -> Iterator[Proxy]:
    """HAProxy before the instances at ``addresses`` for the block; its log is kept in ``work``."""
    bound, stats_bound = (f"127.0.0.1:{free_port()}" for _ in range(2))
    servers = {f"VJEPA_SERVER_{number}": one for number, one in enumerate(addresses, 1)}
    environment = os.environ | servers | {"VJEPA_BIND": bound, "VJEPA_STATS_BIND": stats_bound}
    log = work / "haproxy.log"
    with log.open("wb") as output:
        command = [program, "-db", "-f", str(CONFIGURATION)]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_up(process, stats_bound, log)
        yield Proxy(f"http://{bound}", f"http://{stats_bound}", log)
    finally:
        process.kill()
        process.wait()


def _wait_until_up(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    host, _, port = address.partition(":")
    ends_s = time.monotonic() + _WAIT_S
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, int(port))):
            return
        if process.poll() is not None or time.monotonic() > ends_s:
            raise RuntimeError(f"HAProxy is not up: {log.read_text()}")
        time.sleep(0.05)
