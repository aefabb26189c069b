"""Who gets the page and who gets JSON at ``/``, and how the files of the page are cached."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import aiohttp
import pytest

from engines.storage.bundle import DEMO
from server.api.live.page import POLICY
from tests.live_server import serving
from tests.server.peers import clients

BROWSERS = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (BROWSERS, "text/html"),
        ("text/html", "text/html"),
        ("TEXT/HTML;level=1, application/json;q=0.5", "text/html"),
        ("*/*", "application/json"),
        ("", "application/json"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/html;q=0.2, application/json", "application/json"),
        ("text/html, application/json", "application/json"),
        ("text/html;q=0, */*", "application/json"),
        ("text/html;q=nonsense;;,,", "text/html"),
    ],
)
async def test_only_those_who_prefer_html_get_the_page(
    session: aiohttp.ClientSession, accept: str, media_type: str
) -> None:
    async with session.get("/", headers={"Accept": accept}) as answer:
        assert (answer.status, answer.content_type, answer.headers["Vary"]) == (200, media_type, "Accept")
    async with session.get("/live", headers={"Accept": accept}) as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")


async def test_the_page_refers_to_files_of_its_own_that_may_be_kept_for_ever(session: aiohttp.ClientSession) -> None:
    async with session.get("/live") as answer:
        page = await answer.text()
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert answer.headers["Cache-Control"] == "no-cache"
    assert "//" not in page
    assert not re.search(r"<script(?! type=\"module\" src=)|<style| style=| on\w+=", page)
    names = re.findall(r'(?:src|href)="(live/[^"]+)"', page)
    assert len(names) > 4
    for name in names:
        async with session.get(f"/{name}") as answer:
            assert (answer.status, answer.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
            whole = await answer.read()
    async with session.get(f"/{name}", headers={"Accept-Encoding": "gzip"}, auto_decompress=False) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(await answer.read()) == whole
    other = re.sub(r"live/\w+", "live/000000000000", names[0])
    for name in (other, names[0] + "x", f"{names[0].rsplit('/', 1)[0]}/page.html", f"{names[0]}/../../page.py"):
        async with session.get(f"/{name}") as answer:
            assert (answer.status, answer.content_type) == (404, "application/problem+json")


async def test_the_page_needs_no_key_and_what_it_shows_does(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("key\n")
    with serving(DEMO, "--api-key-file", str(tmp_path / "keys")) as server:
        async with clients(server) as session:
            statuses = {}
            for path, accept in (("/", BROWSERS), ("/", "*/*"), ("/live", "*/*"), ("/api/v1/service", BROWSERS)):
                async with session.get(path, headers={"Accept": accept}) as answer:
                    statuses[path, accept] = answer.status
    assert list(statuses.values()) == [200, 401, 200, 401]
