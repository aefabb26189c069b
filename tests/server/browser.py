"""A Chromium that records what a page asks for, and reaches no other host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import pytest
from playwright.async_api import Page, async_playwright

from tests.live_server import LiveServer
from tests.server.streams import Frames

NAMES = ("chromium", "chromium-headless-shell", "google-chrome")
BROWSER = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
# Hosts that the browser itself contacts; not all of these requests can be turned off.
BROWSERS_OWN = (
    "CONNECT accounts.google.com:443 ",
    "CONNECT android.clients.google.com:443 ",
    "CONNECT content-autofill.googleapis.com:443 ",
    "CONNECT update.googleapis.com:443 ",
    "POST http://update.googleapis.com/",
)
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]

DESK: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "color_scheme": "dark"}
SIZES = pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
SLOW_MS = 120_000

needs_browser = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium; apt-get install chromium")


@dataclass
class Visit:
    """A page, the URLs that it requested, its errors, and its calls to other hosts."""

    page: Page
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    calls_elsewhere: list[str] = field(default_factory=list)

    def assert_at_home(self, server: LiveServer) -> None:
        """The page asked only ``server``, and the browser complained about nothing, such as its policy."""
        assert self.asked
        assert [url for url in self.asked if not url.startswith((f"{server.url}/", "data:", "blob:"))] == []
        assert self.calls_elsewhere == [], self.calls_elsewhere
        assert self.complaints == []


@contextlib.asynccontextmanager
async def visiting(*flags: str, **context: Any) -> AsyncIterator[Visit]:
    """A new Chromium that reaches other hosts only through a proxy, which records and refuses the calls.

    ``flags`` are those of the browser; ``context`` goes to the page, such as its ``viewport``.
    """
    elsewhere: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = (await reader.readline()).decode(errors="replace")
        if not call.startswith(BROWSERS_OWN):
            elsewhere.append(call)
        writer.close()

    proxy = await asyncio.start_server(refuse, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    unboxed = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=BROWSER,
            args=[*QUIET, *unboxed, *flags],
            proxy={"server": address, "bypass": "127.0.0.1"},
        )
        visit = Visit(await browser.new_page(**context), calls_elsewhere=elsewhere)
        visit.page.on("request", lambda request: visit.asked.append(request.url))
        visit.page.on("console", lambda said: visit.complaints.append(said.text) if said.type == "error" else None)
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        yield visit
        await browser.close()
    proxy.close()
    await proxy.wait_closed()


async def checked(visit: Visit, name: str) -> None:
    """Nothing is wider than the window, and axe finds nothing serious; keeps a picture."""
    page = visit.page
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await page.evaluate("document.querySelectorAll('img[src=\"x\"]').length") == 0
    if directory := os.environ.get("VJEPA_PAGE_PICTURES"):
        width = (page.viewport_size or {})["width"]
        await page.screenshot(path=Path(directory) / f"{name}-{width}.png", full_page=True)
    with contextlib.suppress(ImportError):
        from axe_playwright_python.async_playwright import Axe

        found = (await Axe().run(page)).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def write_camera(path: Path, frames: Sequence[Frames]) -> None:
    """Frames, uint8 RGB [H, W, 3], at 12 a second, in the format of Chromium's fake camera."""
    with av.open(str(path), "w", format="yuv4mpegpipe") as container:
        stream = container.add_stream("wrapped_avframe", rate=12)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode())


def showing(recording: Path) -> tuple[str, ...]:
    """The flags of a browser whose camera shows ``recording``, over and over, and which may be used at once."""
    fake = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    return (*fake, f"--use-file-for-fake-video-capture={recording}")
