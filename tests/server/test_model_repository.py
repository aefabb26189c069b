"""Models are swapped, loaded and unloaded while others, and their own clients, go on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from tests.live_server import serving
from tests.server.demo_bundles import demo_copies, demo_copy
from tests.server.peers import clients, send, small_clips
from tests.server.requests import octet_request

CLIPS = small_clips(1)
KEY = {"Authorization": "Bearer a-key"}


@contextlib.asynccontextmanager
async def _load(session: aiohttp.ClientSession, model: str, answers: list[Any]) -> AsyncIterator[None]:
    """Two clients of ``model`` that send one request after the other while the block runs."""
    ended = False

    async def ask_on() -> None:
        while not ended:
            answers.append(await send(session, octet_request(CLIPS[0], model=model), KEY))

    tasks = [asyncio.create_task(ask_on()) for _ in range(2)]
    try:
        yield
    finally:
        ended = True
        await asyncio.gather(*tasks)


async def test_swaps_loads_and_unloads_leave_others_alone_and_lose_no_accepted_request(tmp_path: Path) -> None:
    directory, keys = demo_copies(tmp_path / "models"), tmp_path / "keys"
    keys.write_text("a-key\n")
    answers: dict[str, list[Any]] = {"first": [], "second": []}
    with serving(directory, "--api-key-file", str(keys), "--bundle-poll-s", "1") as server:
        async with clients(server) as session:
            async with session.post("/v2/repository/index") as refused:
                assert refused.status == 401
            async with _load(session, "first", answers["first"]), _load(session, "second", answers["second"]):
                demo_copy(directory / "second", "swapped", labels_moved=1)
                swapped = await asyncio.to_thread(server.wait_for, "engine swapped")
                assert swapped["model"] == "second"
                assert (await send(session, octet_request(CLIPS[0], model="second"), KEY)).body["model"] == "swapped"
                assert await _repository(session, "models/second/unload") == {}
                assert (await send(session, octet_request(CLIPS[0], model="second"), KEY)).status == 503
                assert await _states(session) == {"first": "READY", "second": "UNAVAILABLE", "third": "READY"}
                # What was unloaded stays so, although its files change.
                demo_copy(directory / "second", "again", labels_moved=1)
                demo_copy(directory / "new", "new")
                assert await _repository(session, "models/second/load") == {}
                assert await _repository(session, "models/new/load") == {}
            demo_copy(directory / "bad", "bad", b"no network at all")
            assert "cannot be loaded" in (await _repository(session, "models/bad/load"))["detail"]
            assert "accepted" in (await _repository(session, "models/..%2Fkeys/load"))["detail"]
            states = await _states(session)
            assert (await send(session, octet_request(CLIPS[0], model="new"), KEY)).body["model"] == "new"
        assert await asyncio.to_thread(server.stop) == 0
    assert states == {"first": "READY", "second": "READY", "third": "READY", "new": "READY", "bad": "UNAVAILABLE"}
    assert {(answer.status, answer.body["model"]) for answer in answers["first"]} == {(200, "first")}
    assert {answer.status for answer in answers["second"]} <= {200, 503}
    refused_of_second = {answer.body["detail"] for answer in answers["second"] if answer.status == 503}
    assert refused_of_second <= {"the model second is unavailable"}
    answered = {answer.body["model"] for answer in answers["second"] if answer.status == 200}
    assert {"second", "again"} <= answered <= {"second", "swapped", "again"}


async def _repository(session: aiohttp.ClientSession, path: str) -> Any:
    async with session.post(f"/v2/repository/{path}", headers=KEY) as answer:
        return await answer.json()


async def _states(session: aiohttp.ClientSession) -> dict[str, str]:
    return {model["name"]: model["state"] for model in await _repository(session, "index")}
