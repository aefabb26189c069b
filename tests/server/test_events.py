"""Server-sent events of all streams: complete, resumed, bounded, and only for those who may see them."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from PIL import Image

from engines.storage.bundle import DEMO
from export.demo.rendering.clips import render_clip
from tests.live_server import LiveServer, serving
from tests.server.events import watching
from tests.server.peers import clients
from tests.server.streams import packed, streaming

LABEL = "Moving something up"
MOTION = render_clip(31_000_000, LABEL, size=(120, 160)).frames[..., ::-1]


def _frames(first_s: float = 0.0) -> list[bytes]:
    return [packed(first_s + index / 3, frame) for index, frame in enumerate(MOTION)]


async def test_what_happens_on_a_stream_is_told_in_order(session: aiohttp.ClientSession) -> None:
    async with watching(session) as events:
        first = await events.next("streams", "opened")
        assert first["event"] == "streams"
        assert first["previews"] is True
        async with streaming(session, name="door", policy="wait", stride=4) as client:
            opened = (await events.next("opened"))["stream"]
            assert (opened["session"], opened["name"], opened["recent"]) == (client.ready["session"], "door", [])
            await client.send(_frames())
            await client.send([packed(6, MOTION[0])[:-1]])
            told = [await events.next("prediction", "refused") for _ in range(2)]
            assert {one["event"] for one in told} == {"prediction", "refused"}
            answer = next(one for one in told if one["event"] == "prediction")
            assert answer["session"] == client.ready["session"]
            assert answer["predictions"][0]["label"] == LABEL
            assert answer["action_since_s"] == answer["answered_s"]
            async with watching(session) as later:
                (state,) = [one for one in (await later.next("streams"))["streams"] if one["name"] == "door"]
            assert state["recent"] == [
                {
                    "label": LABEL,
                    "start_s": answer["answered_s"],
                    "end_s": answer["answered_s"],
                    "confidence": answer["predictions"][0]["confidence"],
                }
            ]
            assert (state["frames_refused"], state["predictions"]) == (1, answer["predictions"])
        assert (await events.next("closed"))["session"] == opened["session"]


async def test_a_client_that_comes_again_gets_what_it_missed(session: aiohttp.ClientSession) -> None:
    async with watching(session) as events:
        await events.next("streams")
        async with streaming(session, name="first"):
            await events.next("opened")
        await events.next("closed")
    async with streaming(session, name="second") as client:
        async with watching(session, events.last_id) as again:
            missed = await again.next("streams", "opened")
            assert (missed["event"], missed["stream"]["session"]) == ("opened", client.ready["session"])
        for unknown in ("elsewhere-1", "nonsense", f"{events.last_id}9999999", "-"):
            async with watching(session, unknown) as fresh:
                assert (await fresh.next("streams", "opened"))["event"] == "streams"


async def test_a_client_that_missed_too_much_gets_the_state_instead(session: aiohttp.ClientSession) -> None:
    async with watching(session) as events:
        await events.next("streams")
    async with streaming(session, name="noisy") as client:
        await client.send(itertools.repeat(b"no frame", 1100))
        for _ in range(1100):
            await client.next("error")
        async with watching(session, events.last_id) as again:
            state = await again.next("streams", "refused")
            assert state["event"] == "streams"
            (noisy,) = [one for one in state["streams"] if one["session"] == client.ready["session"]]
            assert noisy["frames_refused"] == 1100


@pytest.mark.parametrize("pixel_format", ["BGR", "RGB"])
async def test_pictures_are_small_and_show_the_frame(session: aiohttp.ClientSession, pixel_format: str) -> None:
    colour = (200, 30, 90)
    frame = np.full((360, 640, 3), colour, np.uint8)
    async with watching(session) as events:
        await events.next("streams")
        async with streaming(session, name="wide", format=pixel_format) as client:
            await client.send(packed(index / 3, frame) for index in range(3))
            taken = await events.next("picture")
    assert taken["session"] == client.ready["session"]
    picture = Image.open(io.BytesIO(base64.b64decode(taken["jpeg"])))
    assert (picture.format, picture.size) == ("JPEG", (320, 180)) == ("JPEG", (taken["width"], taken["height"]))
    expected = colour if pixel_format == "RGB" else colour[::-1]
    assert np.abs(np.asarray(picture).mean((0, 1)) - expected).max() < 4


async def test_no_previews_keeps_no_picture_and_a_stop_ends_the_events() -> None:
    with serving(DEMO, "--no-previews") as server:
        async with clients(server) as session, watching(session) as events:
            assert (await events.next("streams"))["previews"] is False
            async with streaming(session, policy="wait") as client:
                await client.send(_frames())
                assert (await events.next("prediction", "picture"))["event"] == "prediction"
                await client.ended()
            assert (await events.next("closed", "picture"))["event"] == "closed"
            server.process.terminate()
            assert await events.ended()
        assert await asyncio.to_thread(server.wait) == 0


async def test_events_are_for_those_with_a_key_and_not_for_pages_of_other_origins(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("key\n")
    key = {"Authorization": "Bearer key"}
    with serving(DEMO, "--api-key-file", str(tmp_path / "keys"), "--cors-origins", "https://ours.test") as server:
        async with clients(server) as session:
            for headers, status in (({}, 401), (key | {"Origin": "https://theirs.test"}, 403)):
                async with session.get("/api/v1/events", headers=headers) as answer:
                    assert answer.status == status
            for origin in ("https://ours.test", server.url):
                async with watching(session, **key, Origin=origin) as events:
                    await events.next("streams")
            async with session.head("/api/v1/events", headers=key) as answer:
                assert (answer.status, await answer.read()) == (200, b"")


async def test_figures_have_a_value_for_each_column(live_server: LiveServer) -> None:
    async with clients(live_server) as session, streaming(session, policy="wait") as client:
        await client.send(_frames())
        await client.next("prediction")
        async with session.get("/api/v1/service") as answer:
            told = await answer.json()
    assert told["status"] == "healthy"
    assert all(len(row) == len(told["columns"]) for row in (*told["rows"], told["current"]))
    current = dict(zip(told["columns"], told["current"], strict=True))
    assert current["streams"] == 1
    assert current["infer_ms"] is None or current["infer_ms"] > 0
    assert told["limits"]["queue_size"] == 64
