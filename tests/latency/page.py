"""``python -m tests.latency.page``: what pages that are open cost the service, and how soon a page can be used.

Cameras send streams to the demo engine; then the same with pages that show the cameras. Both are the CPU time of the
process of the service, as cores. A page is usable when it has shown the state of the service.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import statistics
import time
from collections.abc import AsyncIterator

import aiohttp
import cv2
import psutil
from playwright.async_api import Browser, async_playwright, expect

from engines.storage.bundle import DEMO
from export.demo.rendering.clips import render_clip
from tests.live_server import LiveServer, serving
from tests.server.browser import BROWSER
from tests.server.peers import clients
from tests.server.streams import StreamClient, image, streaming

_FPS = 3
_SIZE = (240, 320)
_RAN = 5
_FLAGS = ["--no-sandbox", "--disable-background-networking"]


@contextlib.asynccontextmanager
async def cameras(server: LiveServer, count: int) -> AsyncIterator[None]:
    """Cameras that send JPEGs at 3 frames a second, and want an answer every 16 frames."""
    async with clients(server) as session:
        tasks = [asyncio.create_task(_camera(session, number)) for number in range(count)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def _camera(session: aiohttp.ClientSession, number: int) -> None:
    frames = render_clip(31_000_000 + number, size=_SIZE).frames[..., ::-1]
    jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
    async with streaming(session, name=f"camera {number}") as client:
        reading = asyncio.create_task(_read(client))
        try:
            for tick in itertools.count():
                await client.send([image(tick / _FPS, jpegs[tick % len(jpegs)])])
                await asyncio.sleep(1 / _FPS)
        finally:
            reading.cancel()


async def _read(client: StreamClient) -> None:
    async for _ in client.socket:
        pass


async def _cores(server: LiveServer, seconds: float) -> float:
    process = psutil.Process(server.process.pid)
    before, began_s = process.cpu_times(), time.monotonic()
    await asyncio.sleep(seconds)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / (time.monotonic() - began_s)


async def _watch(browser: Browser, server: LiveServer, streams: int) -> None:
    page = await browser.new_page()
    await page.goto(f"{server.url}/live#cameras")
    await expect(page.locator(".tile")).to_have_count(streams, timeout=120_000)


async def _usable_s(browser: Browser, server: LiveServer) -> float:
    page = await browser.new_page()
    began_s = time.monotonic()
    await page.goto(f"{server.url}/")
    await page.get_by_text("healthy: demo").wait_for()
    usable_s = time.monotonic() - began_s
    await page.close()
    return usable_s


async def _measure(streams: int, pages: int, seconds: float) -> None:
    with serving(DEMO, "--max-streams", "1024") as server:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=BROWSER, args=_FLAGS)
            usable_s = [await _usable_s(browser, server) for _ in range(_RAN)]
            print(f"usable after {statistics.median(usable_s):.2f} s (median of {_RAN}; the first {usable_s[0]:.2f} s)")
            async with cameras(server, streams):
                await asyncio.sleep(6)
                alone = await _cores(server, seconds)
                for _ in range(pages):
                    await _watch(browser, server, streams)
                watched = await _cores(server, seconds)
            await browser.close()
    print(f"{streams} streams: {alone:.3f} cores; with {pages} pages: {watched:.3f} cores ({watched - alone:+.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=40)
    parser.add_argument("--pages", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30)
    flags = parser.parse_args()
    asyncio.run(_measure(flags.streams, flags.pages, flags.seconds))


if __name__ == "__main__":
    main()
