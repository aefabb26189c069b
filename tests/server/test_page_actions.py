"""The view Actions in a real browser: heads are taught from clips, tried, and kept."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.async_api import Page, expect

from engines.storage.bundle import DEMO
from tests.archive.recordings import write_frames
from tests.heads import constant_head
from tests.live_server import LiveServer, serving
from tests.server.browser import DESK, PHONE, SLOW_MS, checked, needs_browser, showing, visiting, write_camera
from tests.server.peers import clients
from tests.server.streams import packed, streaming
from tests.teaching.motions import FPS, film, write_videos

pytestmark = [
    needs_browser,
    pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed"),
]
ACTIONS = ("circle", "pulse", "zigzag")
STRANGER = "still"
FRESH = 100


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[LiveServer]:
    constant_head(directory / "heads" / "door", ("opens", "closes"), 0.75)
    flags = ("--heads", str(directory / "heads"), "--teaching", str(directory / "teaching"), "--bundle-poll-s", "1")
    with serving(DEMO, *flags) as server:
        yield server


async def _add_videos(page: Page, action: str, videos: Path) -> None:
    await page.get_by_label("New action").fill(action)
    await page.get_by_role("button", name="Add", exact=True).click()
    await page.get_by_label(f"Videos of {action}").set_input_files(sorted(videos.iterdir()))
    card = page.get_by_role("article", name=action)
    await expect(card).to_contain_text("8 examples", timeout=SLOW_MS)


async def _tell(page: Page, video: Path, answer: str) -> None:
    await page.locator("#file").set_input_files(video)
    await expect(page.locator("#view-try .bars li").first).to_contain_text(answer, timeout=30_000)


async def test_three_actions_are_taught_tried_live_and_kept(server: LiveServer, directory: Path) -> None:
    write_camera(directory / "camera.y4m", film("pulse", FRESH))
    async with visiting(*showing(directory / "camera.y4m"), **DESK) as visit:
        page = visit.page
        await page.goto(f"{server.url}/")
        await page.get_by_role("link", name="Actions").click()
        await page.get_by_label("New head").fill("moves")
        await page.get_by_role("button", name="Begin").click()
        await page.get_by_label("Teach again after each change").uncheck()
        for action in ACTIONS:
            write_videos(directory / action, action, 8)
            await _add_videos(page, action, directory / action)
        for kind in ("empty", "handheld"):
            write_videos(directory / "background", kind, 4)
        await _add_videos(page, "background", directory / "background")
        await page.get_by_role("article", name="pulse").get_by_role("button", name="Record").click()
        await expect(page.get_by_role("article", name="pulse")).to_contain_text("9 examples", timeout=SLOW_MS)
        await page.get_by_role("button", name="Teach", exact=True).click()
        taught = page.get_by_role("region", name="What was taught")
        await expect(taught).to_contain_text("What was taken for what", timeout=SLOW_MS)
        slider = taught.get_by_role("slider")
        await expect(taught.get_by_role("status")).to_contain_text("As taught")
        await slider.press("End")
        await expect(taught.get_by_role("status")).to_contain_text(
            "0.0 % of the background would be taken for an action"
        )
        await expect(taught.locator(".calibration circle").first).to_be_visible()
        await taught.get_by_role("button", name="Try it live").click()
        await expect(page.locator("#view-actions .bars li").first).to_contain_text("pulse", timeout=SLOW_MS)
        await checked(visit, "actions")
        await page.set_viewport_size(PHONE["viewport"])
        said = page.locator("#view-actions .bars li").first
        await said.scroll_into_view_if_needed()
        await expect(said).to_be_in_viewport()
        await checked(visit, "actions-taught")
        await taught.get_by_role("button", name="Keep it").click()
        await expect(page.locator(".cards summary")).to_contain_text(["door", "moves"], timeout=SLOW_MS)
        await page.get_by_role("link", name="Try").click()
        await page.locator("#try-head").select_option("moves")
        for name, answer in (("zigzag", "zigzag"), (STRANGER, "unknown")):
            write_frames(directory / f"fresh {name}.mp4", film(name, FRESH, frames=66), FPS)
            await _tell(page, directory / f"fresh {name}.mp4", answer)
        visit.assert_at_home(server)


async def test_wrong_answer_of_a_camera_becomes_an_example_and_a_phone_shows_all_of_it(
    server: LiveServer, directory: Path
) -> None:
    write_videos(directory / "teaching" / "moves" / "examples" / "circle", "circle", 1, first_seed=50)
    async with visiting(**PHONE) as visit, clients(server) as session:
        page = visit.page
        async with streaming(session, name="yard", policy="wait") as client:
            chosen = np.linspace(0, len(film("zigzag", FRESH)) - 1, 16).round().astype(int)
            frames = film("zigzag", FRESH)[chosen]
            await client.send([packed(index / 3, frame) for index, frame in enumerate(frames)])
            await client.next("prediction")
            await page.goto(f"{server.url}/#cameras")
            await page.locator(".tile").press("Enter")
            await page.get_by_label("This was wrong. It was").select_option("circle (moves)")
            await page.get_by_role("button", name="Add it as an example").click()
            await expect(page.get_by_text("is an example of “circle” now")).to_be_visible()
            await checked(visit, "wrong")
            await page.keyboard.press("Escape")
            await page.get_by_role("link", name="Actions").click()
            await page.locator("#example-source").select_option("the last seconds of yard")
            await page.get_by_role("article", name="circle").get_by_role("button", name="Record").click()
        # It is taught again by itself.
        taught = page.get_by_role("region", name="What was taught")
        await expect(taught).to_contain_text("What was taken for what", timeout=SLOW_MS)
        await taught.get_by_role("button", name="Throw it away").click()
        await expect(taught).to_be_hidden()
        await page.locator(".cards summary").last.click()
        await checked(visit, "actions")
        visit.assert_at_home(server)


async def test_actions_are_hidden_without_the_flag(live_server: LiveServer) -> None:
    async with visiting(**DESK) as visit:
        await visit.page.goto(live_server.url)
        await expect(visit.page.locator("#state")).to_have_text("healthy: demo")
        await expect(visit.page.get_by_role("link", name="Actions")).to_be_hidden()
    async with clients(live_server) as session, session.get("/api/v1/teaching") as answer:
        assert answer.status == 404
