"""Heads in the page: the actions of the view Try and of every camera are those of the chosen head."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from engines.storage.bundle import DEMO
from export.demo.show import SAMPLE, SAMPLE_LABEL
from tests.heads import constant_head
from tests.live_server import LiveServer, serving
from tests.server.browser import SIZES, SLOW_MS, checked, needs_browser, visiting
from tests.server.peers import clients
from tests.server.streams import MOTION, frame_messages, streaming

pytestmark = needs_browser
HOSTILE = "<img src=x onerror=\"document.title='hacked'\">"


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    return tmp_path / "heads"


@pytest.fixture
def server(heads: Path) -> Iterator[LiveServer]:
    constant_head(heads / "door", (HOSTILE, "closes"), 0.75)
    with serving(DEMO, "--heads", str(heads), "--bundle-poll-s", "1") as server:
        yield server


@SIZES
async def test_head_is_a_choice_in_try_and_for_cameras(server: LiveServer, heads: Path, size: dict[str, Any]) -> None:
    async with visiting(**size) as visit, clients(server) as session:
        page = visit.page
        await page.goto(f"{server.url}/#try")
        await page.locator("#file").set_input_files(SAMPLE)
        first = page.locator("#view-try .bars li").first
        await expect(first).to_contain_text(SAMPLE_LABEL, timeout=SLOW_MS)
        await page.locator("#try-head").select_option("door")
        await expect(first).to_contain_text(f"{HOSTILE}75 %", timeout=30_000)
        await checked(visit, "try-head")
        await page.get_by_role("link", name="Cameras").click()
        async with streaming(session, name="yard", policy="wait", stride=1) as client:
            await client.send(frame_messages(MOTION))
            label = page.locator(".tile").filter(has=page.get_by_text("yard", exact=True)).locator(".label")
            own = (await client.next("prediction"))["predictions"][0]["label"]
            await expect(label).to_have_text(own)
            async with page.expect_response("**/events?head=door"):
                await page.locator("#cameras-head").select_option("door")
            await client.send(frame_messages(MOTION, 16 / 3))
            await expect(label).to_have_text(HOSTILE)
            await checked(visit, "cameras-head")
            shutil.rmtree(heads / "door")
            server.wait_for("head gone")
            await page.reload()
            await expect(page.locator("#cameras-head")).to_be_hidden()
            await expect(label).to_have_text(own)
        visit.assert_at_home(server)
