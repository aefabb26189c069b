"""The log: it holds up nobody, loses nothing in silence, and shows what clients wrote without obeying it."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from engines.storage.bundle import DEMO
from server.telemetry.logs import TextFormatter
from tests.live_server import ROOT
from tests.server.peers import metrics

# Control characters of C0 and C1, DEL, line and paragraph separators, and marks that reverse text.
HOSTILE = [
    "\n",
    "\r",
    "\t",
    "\x1b[31m",
    "\x07",
    "\x00",
    "\x7f",
    "\x85",
    "\x9b",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u2066",
    "\u061c",
    "\ufeff",
]
LONG_PATH = "/" + 7000 * "x"
# Their lines are more than the queue and the pipe take.
REQUESTS = 900


@contextlib.contextmanager
def _unread(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server and its address; nobody reads its standard error after the line that tells the address."""
    command = [sys.executable, "-m", "server", str(DEMO), "--port", "0", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stderr is not None
            ready = next(line for line in process.stderr if "ready" in line and "http://" in line)
            address = re.search(r"http://[\d.:]+", ready)
            assert address is not None
            yield process, address[0]
        finally:
            process.kill()


async def _fill_the_log(session: aiohttp.ClientSession) -> None:
    for _ in range(REQUESTS):
        async with session.get(LONG_PATH) as answer:
            assert answer.status == 404


async def _dropped(session: aiohttp.ClientSession) -> float:
    return (await metrics(session))["vjepa_log_lines_dropped_total"]


async def test_log_that_nobody_reads_stops_neither_the_service_nor_its_end() -> None:
    with _unread() as (process, url):
        async with aiohttp.ClientSession(url) as session:
            await _fill_the_log(session)
            assert await _dropped(session) > 0
            async with session.get("/health/ready") as ready:
                assert ready.status == 200
        process.terminate()
        assert process.wait(60) == 0


async def test_dropped_lines_are_told_where_they_are_missing_and_all_others_are_there() -> None:
    entries: list[dict[str, Any]] = []
    told = threading.Event()

    def read(process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            entries.append(json.loads(line))
            if entries[-1]["event"] == "log lines were dropped":
                told.set()

    with _unread() as (process, url):
        async with aiohttp.ClientSession(url) as session:
            await _fill_the_log(session)
            reader = threading.Thread(target=read, args=(process,))
            reader.start()
            later = 0
            while not told.is_set():
                async with session.get("/"):
                    later += 1
            dropped = await _dropped(session)
        process.terminate()
        reader.join(60)
        assert process.wait(60) == 0
    assert entries[-1]["event"] == "stopped"
    gaps = [entry["lines"] for entry in entries if entry["event"] == "log lines were dropped"]
    assert sum(gaps) == dropped > 0
    assert len([entry for entry in entries if entry["event"] == "request"]) + dropped == REQUESTS + later


async def test_text_of_clients_stays_in_its_line_and_controls_no_terminal() -> None:
    with _unread("--log-format", "text") as (process, url):
        async with aiohttp.ClientSession(url) as session:
            for text in HOSTILE:
                path = URL.build(path=f"/2026-01-01 00:00:00 ERROR {text}forged").raw_path
                async with session.get(URL(path, encoded=True), headers={"X-Request-Id": "a b"}) as answer:
                    assert answer.status == 404
        process.terminate()
        lines = process.stderr.read().split("\n") if process.stderr else []
    requests = [line for line in lines if "INFO request" in line]
    assert len(requests) == len(HOSTILE)
    assert all(line.isprintable() and line.startswith("20") for line in lines if line)
    assert all("forged" in line for line in requests)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_part_of_a_record_contains_control_characters(text: str) -> None:
    formatter = TextFormatter("%(levelname)s %(message)s")
    try:
        raise ValueError(f"{text}forged")
    except ValueError:
        record = logging.makeLogRecord({"levelname": "ERROR", "msg": f"{text}forged", "exc_info": sys.exc_info()})
    record.field = f"{text}forged"
    first, *trace = formatter.format(record).split("\n")
    assert first.startswith("ERROR ")
    assert first.count("forged") == 2
    assert all(line.isprintable() for line in (first, *trace))
    assert all(line.startswith("  ") for line in trace)


def test_no_dictionary_is_written_as_python_writes_it() -> None:
    record = logging.makeLogRecord({"msg": "event", "times": {"a": 1.5, "b": {"c": "x y"}}, "names": ["p", "q"]})
    assert TextFormatter("%(message)s").format(record) == 'event times.a=1.5 times.b.c="x y" names=p,q'


def test_crash_is_logged_before_the_process_ends() -> None:
    program = "from server.__main__ import run\nasync def serve(settings):\n    raise ValueError('odd')\nrun(serve)"
    crashed = subprocess.run(
        [sys.executable, "-c", program, "--log-format", "json"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert crashed.returncode == 1
    chosen, entry = map(json.loads, crashed.stderr.splitlines())
    assert chosen["event"] == "bundle chosen"
    assert entry["event"] == "crashed"
    assert "ValueError: odd" in entry["exc_info"]


def test_log_without_standard_error_is_no_reason_to_end() -> None:
    program = "from server.__main__ import run\nasync def serve(settings):\n    pass\nrun(serve)"
    command = f'exec 2>&-; exec "$0" -c "{program}"'
    assert subprocess.run(["sh", "-c", command, sys.executable], cwd=ROOT, check=False).returncode == 0
