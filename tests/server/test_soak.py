"""The endurance test of ``just soak``, shortened."""

from __future__ import annotations

import asyncio

import pytest

from engines.storage.bundle import DEMO
from tests.live_server import serving
from tests.soak import PATIENT, soak

SECONDS = 8


@pytest.mark.alone
async def test_steady_load_leaks_nothing() -> None:
    with serving(DEMO, *PATIENT) as server:
        result = await soak(server, SECONDS)
        assert await asyncio.to_thread(server.stop) == 0
    assert not list(result.complaints())
    assert result.sent > 100
    assert result.left > 5
    assert not [entry for entry in server.log if entry["level"] in ("ERROR", "CRITICAL")]
