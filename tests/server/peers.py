"""Clients of the live servers: well-behaved ones, and one that writes HTTP by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import numpy.typing as npt
from prometheus_client.parser import text_string_to_metric_families
from yarl import URL

from export.demo.rendering.clips import render_clip
from tests.live_server import LiveServer, serving
from tests.server.conftest import Answer
from tests.server.requests import Sent, raw_body

Frames = npt.NDArray[np.uint8]
SMALL = (24, 32)


def small_clips(count: int, seed: int = 34_000_000) -> list[Frames]:
    """Different motions, uint8 RGB [16, 24, 32, 3]."""
    return [render_clip(seed + index, size=SMALL).frames for index in range(count)]


def encoded(frames: Frames, **fields: Any) -> bytes:
    """The JSON body for ``frames``, with all labels asked for."""
    return json.dumps(raw_body(frames, **fields)).encode()


def confidences(answer: Answer) -> dict[str, float]:
    return {prediction["label"]: prediction["confidence"] for prediction in answer.body["predictions"]}


@contextlib.contextmanager
def faulty(bundle: Path, *arguments: str) -> Iterator[LiveServer]:
    """A live server whose engine fails on demand; see ``tests/faulty_server.py``."""
    with serving(bundle, *arguments, module="tests.faulty_server") as server:
        yield server


async def tell(server: LiveServer, word: str) -> None:
    """Give the faulty engine the order ``word``, and wait until it has read it."""
    told = len(server.entries("told"))
    server.tell(word)
    await asyncio.to_thread(server.wait_for, "told", told + 1)


@contextlib.asynccontextmanager
async def clients(server: LiveServer) -> AsyncIterator[aiohttp.ClientSession]:
    """A session that opens a connection for each concurrent request."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(server.url, connector=connector, timeout=aiohttp.ClientTimeout(120)) as session:
        yield session


async def send(session: aiohttp.ClientSession, sent: bytes | Sent, headers: dict[str, str] | None = None) -> Answer:
    """POST to /api/v1/infer: bytes are a JSON body."""
    if isinstance(sent, bytes):
        sent = Sent("application/json", sent)
    url = URL(f"/api/v1/infer{sent.query}", encoded=True)
    all_headers = {"Content-Type": sent.content_type} | (headers or {})
    async with session.post(url, data=sent.body, headers=all_headers) as response:
        return Answer(response.status, response.headers, await response.json(content_type=None))


async def statuses(session: aiohttp.ClientSession, *paths: str) -> list[int]:
    """The status of a GET of each of ``paths``."""
    found = []
    for path in paths:
        async with session.get(path) as answer:
            found.append(answer.status)
    return found


async def metrics(session: aiohttp.ClientSession, *, sums: bool = True) -> dict[str, float]:
    """Every sample of /metrics, as ``name`` or ``name{label="value"}``; with ``sums``, those of all models together."""
    async with session.get("/metrics") as response:
        assert response.status == 200
        families = text_string_to_metric_families(await response.text())
    values: dict[str, float] = {}
    for sample in (sample for family in families for sample in family.samples):
        series = _series(sample, without="model" if sums else "")
        values[series] = values.get(series, 0.0) + sample.value
    return values


async def until_metric(session: aiohttp.ClientSession, series: str, reached: Callable[[float], bool]) -> float:
    """Read ``series`` until ``reached`` returns True, and return its value."""
    async with asyncio.timeout(60):
        while not reached(value := (await metrics(session))[series]):
            pass
    return value


def _series(sample: Any, without: str) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()) if name != without)
    return f"{sample.name}{{{labels}}}" if labels else str(sample.name)


class Peer:
    """One connection to which the test writes raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, server: LiveServer) -> Peer:
        place = urlsplit(server.url)
        return cls(*await asyncio.open_connection(place.hostname, place.port))

    async def write(self, *parts: bytes) -> None:
        self.writer.write(b"".join(parts))
        await self.writer.drain()

    async def answer(self) -> Answer:
        """The next answer; raises IncompleteReadError if the connection ends before it."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        if head.startswith("HTTP/1.1 100 "):
            return await self.answer()
        headers = dict(re.findall(r"^([\w-]+): (.*)\r$", head, re.MULTILINE))
        body = await self._reader.readexactly(int(headers.get("Content-Length", 0)))
        is_json = "json" in headers.get("Content-Type", "")
        return Answer(int(head.split()[1]), headers, json.loads(body) if is_json else {"text": body.decode()})

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        return await self._reader.read()

    async def interim(self) -> bytes:
        """The header of the next answer, which has no body."""
        return await self._reader.readuntil(b"\r\n\r\n")

    async def body(self, length: int) -> bytes:
        return await self._reader.readexactly(length)

    async def status_or_end(self) -> int | None:
        """The status of the next answer, or None when the connection is closed or reset without one."""
        try:
            return (await self.answer()).status
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def close(self) -> None:
        self.writer.close()


def post_head(length: int | None, *lines: str) -> bytes:
    """Request line and header of a POST to /api/v1/infer."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    head = ["POST /api/v1/infer HTTP/1.1", "Host: x", "Content-Type: application/json", framing, *lines]
    return "\r\n".join([*head, "", ""]).encode()


def resident_bytes(server: LiveServer) -> int:
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096
