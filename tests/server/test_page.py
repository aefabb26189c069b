"""The page in a real browser: each view does what it is for, on a desk and on a phone, with no other host and no error.

With ``VJEPA_PAGE_PICTURES`` in the environment, pictures of the views are kept in that directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from playwright.async_api import Locator, Page, expect

from engines import manifest as manifests
from engines.storage.bundle import DEMO
from export.bundling.staging import write_manifest
from export.demo.labels import LABELS
from export.demo.rendering.clips import render_clip
from export.demo.show import SAMPLE, SAMPLE_LABEL
from tests.live_server import LiveServer, serving
from tests.server.browser import DESK, PHONE, SIZES, SLOW_MS, checked, needs_browser, showing, visiting, write_camera
from tests.server.peers import clients
from tests.server.streams import StreamClient, packed, streaming

pytestmark = needs_browser

FIRST_VIEW_BYTES = 150_000
HOSTILE = "<img src=x onerror=\"document.title='hacked'\">&amp;</script>"


def _first(page: Page) -> Locator:
    """The most probable action over the picture."""
    return page.locator("#view-try .bars li").first


@SIZES
async def test_a_file_is_classified_and_its_timeline_can_be_clicked_and_kept(
    live_server: LiveServer, size: dict[str, Any], tmp_path: Path
) -> None:
    video = Path(shutil.copy(SAMPLE, tmp_path / "<b>&'video.mp4"))
    async with visiting(**size) as visit:
        page = visit.page
        await page.goto(f"{live_server.url}/")
        await page.locator("#file").set_input_files(video)
        await expect(_first(page)).to_contain_text(SAMPLE_LABEL, timeout=SLOW_MS)
        segment = page.get_by_role("button", name=f"{SAMPLE_LABEL}, 0:00 to 0:05")
        await expect(segment).to_be_visible()
        kept = json.loads(await _kept(page, "JSON"))
        assert kept["name"] == video.name
        (answer,) = kept["answers"]
        assert (answer["start_s"], answer["end_s"]) == (0, pytest.approx(16 / 3, abs=0.1))
        assert answer["predictions"][0]["label"] == SAMPLE_LABEL
        (row,) = csv.DictReader(io.StringIO(await _kept(page, "CSV")))
        assert (row["label"], float(row["confidence"])) == (SAMPLE_LABEL, answer["predictions"][0]["confidence"])
        assert f"00:00:00.000 --> 00:00:05.333\n{SAMPLE_LABEL}" in await _kept(page, "WebVTT")
        await expect(page.locator("video")).to_have_js_property("ended", True, timeout=SLOW_MS)
        await segment.press("Enter")
        await expect(page.locator("video")).to_have_js_property("ended", False)
        await checked(visit, "try")
        visit.assert_at_home(live_server)


async def _kept(page: Page, kind: str) -> str:
    async with page.expect_download() as download:
        await page.get_by_role("button", name=kind, exact=True).click()
    return (await (await download.value).path()).read_bytes().decode()


async def test_each_motion_of_show_me_is_recognised(live_server: LiveServer) -> None:
    async with visiting(**DESK) as visit:
        await visit.page.goto(f"{live_server.url}/live")
        for label in ("Moving something up", "Pushing something from left to right"):
            await visit.page.get_by_role("button", name="Show me").click()
            await visit.page.get_by_text(f"Right: “{label}”").wait_for(timeout=SLOW_MS)
        visit.assert_at_home(live_server)


async def test_still_pictures_are_left_out_on_demand(live_server: LiveServer, tmp_path: Path) -> None:
    frame = render_clip(35_000_000, "Holding something", frames=1, size=(120, 160)).frames[0]
    write_camera(tmp_path / "still.y4m", [frame] * 96)
    async with visiting(*showing(tmp_path / "still.y4m"), **DESK) as visit:
        page = visit.page
        await page.goto(f"{live_server.url}/")
        await expect(page.get_by_label("Leave out still pictures")).to_be_hidden()
        await page.get_by_role("button", name="Use the camera").click()
        await page.get_by_label("Leave out still pictures").check()
        await expect(page.locator(".facts")).to_contain_text("(still)", timeout=SLOW_MS)
        visit.assert_at_home(live_server)


async def test_a_motion_before_the_camera_comes_first(live_server: LiveServer, tmp_path: Path) -> None:
    recording = tmp_path / "camera.y4m"
    write_camera(recording, render_clip(35_000_000, SAMPLE_LABEL, frames=96, size=(240, 320)).frames)
    async with visiting(*showing(recording), **PHONE) as visit:
        page = visit.page
        await page.goto(f"{live_server.url}/#try")
        await page.get_by_role("button", name="Use the camera").click()
        await expect(_first(page)).to_contain_text(SAMPLE_LABEL, timeout=SLOW_MS)
        async with clients(live_server) as session, session.get("/api/v1/streams") as answer:
            (stream,) = (await answer.json())["streams"]
        assert stream["name"] == "camera of this device"
        await page.get_by_role("button", name=SAMPLE_LABEL).first.click()
        await page.get_by_role("button", name="Back to now").click()
        await checked(visit, "camera")
        await page.get_by_role("button", name="Stop").click()
        visit.assert_at_home(live_server)


async def test_what_the_browser_cannot_play_or_give_is_said(live_server: LiveServer, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    async with visiting(**DESK) as visit:
        page = visit.page
        await page.goto(live_server.url)
        await page.locator("#file").set_input_files(tmp_path / "text.mp4")
        await expect(page.get_by_role("alert")).to_contain_text("This browser cannot play the file")
        await page.evaluate("delete Navigator.prototype.mediaDevices")
        await page.get_by_role("button", name="Use the camera").click()
        await expect(page.get_by_role("alert")).to_contain_text("Browsers give a camera only to pages at localhost")


@contextlib.asynccontextmanager
async def _twenty_streams(session: aiohttp.ClientSession) -> AsyncIterator[dict[str, str]]:
    """Twenty open streams: the action that the service found on each, by name."""
    async with contextlib.AsyncExitStack() as stack:
        found = {}
        for number in range(20):
            name = HOSTILE if number == 7 else f"camera {number}"
            client = await stack.enter_async_context(streaming(session, name=name, policy="wait"))
            found[name] = await _shown(client, number)
        yield found


async def _shown(client: StreamClient, number: int) -> str:
    frames = render_clip(31_000_000 + number, LABELS[number % len(LABELS)], size=(72, 96)).frames[..., ::-1]
    await client.send(packed(index / 3, frame) for index, frame in enumerate(frames))
    return str((await client.next("prediction"))["predictions"][0]["label"])


@SIZES
async def test_every_stream_has_a_tile_that_opens_large(live_server: LiveServer, size: dict[str, Any]) -> None:
    async with visiting(**size) as visit, clients(live_server) as session:
        page = visit.page
        await page.goto(f"{live_server.url}/#cameras")
        await expect(page.get_by_text("No stream is open.")).to_be_visible()
        async with _twenty_streams(session) as found:
            tiles = page.locator(".tile")
            await expect(tiles).to_have_count(20, timeout=SLOW_MS)
            for name, label in found.items():
                tile = tiles.filter(has=page.get_by_text(name, exact=True))
                await expect(tile.locator(".label")).to_have_text(label, timeout=SLOW_MS)
                await expect(tile.locator("img")).to_be_visible(timeout=SLOW_MS)
            assert await page.title() == "Cameras - vjepa2-serve"
            await checked(visit, "cameras")
            await tiles.filter(has=page.get_by_text(HOSTILE, exact=True)).press("Enter")
            large = page.get_by_role("dialog")
            await expect(large.get_by_role("heading")).to_have_text(HOSTILE)
            await expect(large.locator(".bars li").first).to_contain_text(found[HOSTILE])
            await checked(visit, "large")
            await page.keyboard.press("Escape")
            await expect(large).to_be_hidden()
        await expect(tiles).to_have_count(0)
        visit.assert_at_home(live_server)


@SIZES
async def test_the_service_is_described_and_measured(size: dict[str, Any]) -> None:
    # A server of its own, because what other tests ask of theirs may make a figure red.
    with serving(DEMO) as server:
        async with visiting(**size) as visit:
            page = visit.page
            await page.goto(f"{server.url}/#service")
            await expect(page.locator(".card")).to_contain_text("the same action first in 100 %")
            await expect(page.locator(".figures")).to_contain_text("healthy")
            await expect(page.locator(".advice")).to_contain_text("No figure is red.")
            await expect(page.locator(".uplot canvas")).to_have_count(4)
            await checked(visit, "service")
            visit.assert_at_home(server)


async def test_a_key_is_asked_for_and_a_wrong_one_told(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("the-key\n")
    with serving(DEMO, "--api-key-file", str(tmp_path / "keys")) as server:
        async with visiting(**PHONE) as visit:
            page = visit.page
            await page.goto(server.url)
            dialog = page.get_by_role("dialog", name="This service needs an API key")
            for key in ("wrong", "the-key"):
                await dialog.get_by_label("API key").fill(key)
                await dialog.get_by_role("button").click()
                if key == "wrong":
                    await expect(dialog.get_by_role("alert")).to_contain_text("does not know this key")
                    await checked(visit, "key")
            await expect(page.locator("#state")).to_have_text("healthy: demo")
            await page.get_by_role("button", name="Show me").click()
            await page.get_by_role("link", name="Cameras").click()
            await expect(page.locator(".tile .name")).to_have_text("rendered motion")
            await expect(dialog).to_be_hidden()
            assert {text for text in visit.complaints if "401" not in text} == set()
        assert await asyncio.to_thread(server.stop) == 0


async def test_labels_of_a_model_are_text(tmp_path: Path) -> None:
    bundle = tmp_path / "hostile"
    bundle.mkdir()
    shutil.copy(DEMO / "model.onnx", bundle)
    manifest = manifests.decode((DEMO / manifests.FILE_NAME).read_bytes())
    labels = tuple(f"{HOSTILE}{label}" for label in manifest.labels)
    source = msgspec.structs.replace(manifest.source, model=HOSTILE)
    write_manifest(bundle, msgspec.structs.replace(manifest, labels=labels, source=source, name="hostile"))
    with serving(bundle, "--canary-s", "off") as server:
        async with visiting(**DESK) as visit, clients(server) as session:
            page = visit.page
            await page.goto(f"{server.url}/#try")
            await page.locator("#file").set_input_files(SAMPLE)
            await expect(_first(page)).to_contain_text(HOSTILE + SAMPLE_LABEL, timeout=SLOW_MS)
            assert "&lt;img src=x" in await _kept(page, "WebVTT")
            await expect(page.locator("#state")).to_have_text(f"healthy: {HOSTILE}")
            async with streaming(session, name=HOSTILE, policy="wait") as client:
                label = await _shown(client, 0)
                await page.get_by_role("link", name="Cameras").click()
                tile = page.locator(".tile").filter(has=page.get_by_text(HOSTILE, exact=True))
                await expect(tile.locator(".label")).to_have_text(label)
            await page.get_by_role("link", name="Service").click()
            await expect(page.locator(".card h3")).to_have_text(HOSTILE)
            await checked(visit, "hostile")
            assert "hacked" not in await page.title()
            visit.assert_at_home(server)


async def test_a_page_of_another_origin_can_watch_nothing(live_server: LiveServer) -> None:
    there = live_server.url.removeprefix("http://")
    script = f"""async () => [
        await fetch('http://{there}/api/v1/events').then(() => 'read', () => 'refused'),
        await fetch('http://{there}/api/v1/service').then(() => 'read', () => 'refused'),
        await new Promise((resolve) => {{
            const socket = new WebSocket('ws://{there}/api/v1/stream');
            socket.onopen = () => resolve('read');
            socket.onerror = () => resolve('refused');
        }}),
        await new Promise((resolve) => {{
            const source = new EventSource('http://{there}/api/v1/events');
            source.onmessage = source.onopen = () => resolve('read');
            source.onerror = () => resolve('refused');
        }})]"""
    async with visiting("--host-resolver-rules=MAP elsewhere.test 127.0.0.1", "--no-proxy-server", **DESK) as visit:
        await visit.page.goto(live_server.url.replace("127.0.0.1", "elsewhere.test") + "/health")
        assert await visit.page.evaluate(script) == ["refused"] * 4


async def test_the_first_view_is_small(live_server: LiveServer) -> None:
    async with visiting(**DESK) as visit:
        sizes: list[int] = []
        devtools = await visit.page.context.new_cdp_session(visit.page)
        await devtools.send("Network.enable")
        devtools.on("Network.loadingFinished", lambda told: sizes.append(told["encodedDataLength"]))
        await visit.page.goto(live_server.url)
        await expect(visit.page.locator("#state")).to_have_text("healthy: demo")
        assert len(sizes) > 15
        assert sum(sizes) <= FIRST_VIEW_BYTES
