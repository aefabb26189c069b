"""Fixtures: a session with the live server, and a clip to send."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from yarl import URL

from engines import manifest as manifests
from engines.storage.bundle import DEMO
from export.bundling.staging import write_manifest
from export.demo.rendering.clips import Clip, render_clip
from tests.live_server import LiveServer
from tests.server.requests import Sent


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    body: dict[str, Any]


Post = Callable[..., Awaitable[Answer]]


@pytest.fixture(scope="session")
def batch_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo bundle with a largest batch of 8."""
    path = tmp_path_factory.mktemp("bundles") / "batch"
    path.mkdir()
    shutil.copy(DEMO / "model.onnx", path)
    manifest = manifests.decode((DEMO / manifests.FILE_NAME).read_bytes())
    write_manifest(path, msgspec.structs.replace(manifest, name="batch", max_batch=8))
    return path


@pytest.fixture(scope="session")
def clip() -> Clip:
    return render_clip(31_000_000, "Moving something up", size=(120, 160))


@pytest.fixture
async def session(live_server: LiveServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(live_server.url) as session:
        yield session


@pytest.fixture
def post(session: aiohttp.ClientSession) -> Post:
    """POST to /api/v1/infer: a ``Sent``, or the keyword arguments of aiohttp, such as ``json=``."""

    async def send(sent: Sent | None = None, **request: Any) -> Answer:
        if sent is not None:
            request = {"data": sent.body, "headers": {"Content-Type": sent.content_type}} | request
        path = f"/api/v1/infer{sent.query if sent else ''}"
        async with session.post(URL(path, encoded=True), **request) as response:
            return Answer(response.status, response.headers, await response.json(content_type=None))

    return send
