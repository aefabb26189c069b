"""The API pages in a real browser: they render, their requests are answered, and they use no other host."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from playwright.async_api import Locator, Page

from server.api.docs.pages import POLICY
from tests.live_server import LiveServer
from tests.server.browser import Visit, needs_browser, visiting
from tests.server.requests import encode


@pytest.fixture
async def visit() -> AsyncIterator[Visit]:
    async with visiting(viewport={"width": 1280, "height": 1600}) as visit:
        yield visit


async def _try_out(page: Page, operation: str) -> tuple[int, str]:
    """Open the operation and execute its example; return the status and the body that the page shows."""
    block: Locator = page.locator(f"#operations-{operation}")
    await block.locator(".opblock-summary-control").first.click()
    await block.get_by_role("button", name="Execute").click()
    answer = block.locator(".live-responses-table .response").first
    status = await answer.locator(".response-col_status").inner_text()
    body = await answer.locator(".response-col_description .highlight-code pre").first.inner_text()
    return int(status.split()[0]), body


@needs_browser
async def test_swagger_ui_shows_the_document_and_sends_requests(visit: Visit, live_server: LiveServer) -> None:
    await visit.page.goto(f"{live_server.url}/docs")
    await visit.page.get_by_role("heading", name="vjepa2-serve").wait_for()
    status, body = await _try_out(visit.page, "health-health")
    assert (status, json.loads(body)) == (200, {"status": "healthy", "model_loaded": True})
    status, body = await _try_out(visit.page, "inference-classify")
    assert status == 200
    assert json.loads(body).keys() == {"predictions", "clip_id", "model", "timings_ms"}
    assert len(json.loads(body)["predictions"]) == 3
    visit.assert_at_home(live_server)


# What the form of a clip sends as it is shown: the query, the names of the images and the other parts.
FORM_QUERY = "format=BGR"
FORM_IMAGES = [f"frame-{number:02d}.png" for number in range(1, 17)]
FORM_TEXTS = {"format": "BGR"}


async def test_what_the_multipart_form_sends_as_it_is_shown_is_classified(live_server: LiveServer) -> None:
    async with aiohttp.ClientSession(live_server.url) as session:
        async with session.get("/openapi.json") as answer:
            paths = (await answer.json())["paths"]
        content = paths["/api/v1/infer"]["post"]["requestBody"]["content"]
        frames = content["multipart/form-data"]["schema"]["properties"]["frames"]
        form = aiohttp.FormData(FORM_TEXTS)
        for name, image in zip(FORM_IMAGES, frames["x-example-images"], strict=True):
            form.add_field("frames", base64.b64decode(image), filename=name, content_type="image/png")
        async with session.post(f"/api/v1/infer?{FORM_QUERY}", data=form) as answer:
            assert answer.status == 200, await answer.text()
            assert (await answer.json())["predictions"][0]["label"] == "Moving something up"


@needs_browser
async def test_multipart_form_works_when_pressed_and_sends_chosen_images(
    visit: Visit, live_server: LiveServer, tmp_path: Path
) -> None:
    await visit.page.goto(f"{live_server.url}/docs")
    block = visit.page.locator("#operations-inference-classify")
    await block.locator(".opblock-summary-control").first.click()
    await block.locator(".opblock-section-request-body select").first.select_option("multipart/form-data")
    picker = block.locator("input[type=file]")
    assert await picker.count() == 1
    assert await _press(visit.page, block, FORM_IMAGES[0]) == FORM_IMAGES
    # Of another size than those of the example.
    pixels = np.random.default_rng(0).integers(0, 256, (16, 48, 64, 3), np.uint8)
    chosen = [tmp_path / f"mine-{number}.png" for number in range(10, 26)]
    for path, image in zip(chosen, encode(pixels, ".png"), strict=True):
        path.write_bytes(image)
    await picker.set_input_files(chosen)
    assert await _press(visit.page, block, chosen[0].name) == [path.name for path in chosen]
    visit.assert_at_home(live_server)


async def _press(page: Page, block: Locator, first: str) -> list[str]:
    """Press Execute, which must be answered with 200; return the names of the images that the page says it sent.

    The page shows its request as a command of curl; the one with the image ``first`` is awaited.
    """
    async with page.expect_response(f"**/api/v1/infer?{FORM_QUERY}") as asked:
        await block.get_by_role("button", name="Execute").click()
    answer = await asked.value
    assert answer.status == 200, await answer.text()
    shown = block.locator(".curl-command").filter(has_text=first)
    await shown.wait_for()
    command = await shown.inner_text()
    fields = re.findall(r"-F '(\w+)=([^@']+)'", command)
    assert dict(fields) == FORM_TEXTS
    return re.findall(r"-F 'frames=@([^;']+);type=image/png'", command)


@needs_browser
async def test_redoc_shows_the_document_and_searches_it(visit: Visit, live_server: LiveServer) -> None:
    await visit.page.goto(f"{live_server.url}/redoc")
    await visit.page.get_by_role("heading", name=re.compile("vjepa2-serve")).wait_for()
    await visit.page.get_by_role("heading", name="Classify a clip").wait_for()
    await visit.page.get_by_placeholder("Search...").fill("softmax")
    await visit.page.locator("[data-role='search:results'] li").first.wait_for()
    visit.assert_at_home(live_server)


@needs_browser
async def test_content_security_policy_blocks_other_hosts(visit: Visit, live_server: LiveServer) -> None:
    """Shows that the two tests above can fail: without the policy the browser does call the other host."""
    await visit.page.goto(f"{live_server.url}/docs")
    ask = "fetch('http://elsewhere.test/').then(() => 'there', () => 'refused')"
    assert await visit.page.evaluate(ask) == "refused"
    assert visit.calls_elsewhere == []
    assert any("Content Security Policy" in complaint for complaint in visit.complaints)
    await visit.page.goto(f"{live_server.url}/health")
    assert await visit.page.evaluate(ask) == "refused"
    assert any("elsewhere.test" in call for call in visit.calls_elsewhere)


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_pages_and_assets_refer_to_no_other_host(session: aiohttp.ClientSession, path: str) -> None:
    async with session.get(path) as response:
        assert response.headers["Content-Security-Policy"] == POLICY
        page = await response.text()
    assert "//" not in page
    assets = re.findall(r'(?:src|href)="(docs/[^"]+)"', page)
    assert len(assets) >= 2
    for asset in assets:
        async with session.get(f"/{asset}") as response:
            assert response.status == 200
            assert response.content_type in ("text/javascript", "application/javascript", "text/css")
            text = await response.text()
        assert not re.search(r"@import|url\(\s*['\"]?(?:https?:)?//", text)
        assert not re.search(r"\bsrc:\s*['\"](?:https?:)?//", text)


async def test_assets_are_cacheable_and_other_files_are_not_served(session: aiohttp.ClientSession) -> None:
    async with session.get("/docs/swagger-ui.css") as response:
        tag = response.headers["ETag"]
    async with session.get("/docs/swagger-ui.css", headers={"If-None-Match": tag}) as response:
        assert response.status == 304
    for name in ("README.md", "..%2Fpages.py", "%2e%2e%2fdocument.py", "nothing.js"):
        async with session.get(f"/docs/{name}") as response:
            assert (response.status, response.content_type) == (404, "application/problem+json")
