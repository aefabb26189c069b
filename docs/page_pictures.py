"""``python docs/page_pictures.py [SECONDS]``: takes README's pictures of the page from ``just demo --page``.

The cameras run for so many seconds (default 200) before they are pictured, so that their strips are filled.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from playwright.async_api import Page, async_playwright

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "docs/images"
WIDTH = 1200
HEIGHTS = {"cameras": 620, "service": 1180, "try": 860}
QUALITY = 78


async def take(url: str, browser_path: str, seconds: float) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": WIDTH, "height": HEIGHTS["cameras"]})
        await page.goto(f"{url}#cameras")
        await asyncio.sleep(seconds)
        await _take(page, "cameras")
        await page.get_by_role("link", name="Service").click()
        await page.locator(".uplot canvas").last.wait_for()
        await _take(page, "service")
        await page.get_by_role("link", name="Try").click()
        await page.get_by_role("button", name="Show me").click()
        await page.get_by_text("Right:").wait_for()
        await _take(page, "try")
        await browser.close()


async def _take(page: Page, name: str) -> None:
    await page.set_viewport_size({"width": WIDTH, "height": HEIGHTS[name]})
    await page.wait_for_timeout(1500)
    await page.screenshot(path=PLACE / f"page-{name}.jpg", type="jpeg", quality=QUALITY)


def main(seconds: float) -> None:
    sys.path.insert(0, str(ROOT))
    from tests.server.browser import BROWSER

    command = [sys.executable, "-m", "export.demo.show", "--page"]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert demo.stdout is not None  # noqa: S101
        assert BROWSER is not None, "there is no Chromium; apt-get install chromium"  # noqa: S101
        asyncio.run(take(demo.stdout.readline().split()[1], BROWSER, seconds))
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait()


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 200)
