"""The AsyncAPI document is valid, and describes the messages that streams really have."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import numpy as np
import pytest

from engines.storage.bundle import DEMO
from tests.live_server import LiveServer, serving
from tests.server.peers import clients, faulty, tell
from tests.server.streams import FPS, MOTION, frame_messages, packed, streaming

Document = dict[str, Any]

SCHEMA = json.loads((Path(__file__).parent / "asyncapi/3.0.0.json").read_text())
FRAME = np.zeros((64, 64, 3), np.uint8)


async def _document(session: aiohttp.ClientSession) -> Document:
    async with session.get("/asyncapi.json") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        return dict(await response.json())


def _check(document: Document, answer: Document) -> None:
    payload = document["components"]["messages"][answer["type"]]["payload"]
    jsonschema.Draft202012Validator({"components": document["components"]} | payload).validate(answer)


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if "$ref" in part else []
        return own + [found for value in part.values() for found in _references(value)]
    return [found for value in part for found in _references(value)] if isinstance(part, list) else []


def _is_there(document: Document, reference: str) -> bool:
    part: Any = document
    for name in reference.removeprefix("#/").split("/"):
        part = part.get(name, {})
    return bool(part)


@pytest.mark.parametrize("keyed", [False, True])
async def test_document_is_valid_asyncapi_3(keyed: bool, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("key\n")
    flags = ("--api-key-file", str(tmp_path / "keys")) if keyed else ()
    with serving(DEMO, *flags) as server:
        async with clients(server) as session:
            document = await _document(session)
    jsonschema.Draft7Validator(SCHEMA).validate(document)
    assert not [reference for reference in _references(document) if not _is_there(document, reference)]
    assert ("securitySchemes" in document["components"]) is keyed


async def test_messages_of_a_stream_are_as_documented(live_server: LiveServer) -> None:
    async with clients(live_server) as session:
        document = await _document(session)
        async with streaming(session, policy="wait", still="skip", still_check=0.5) as client:
            moments = [index / 3 for index in range(48)]
            await client.send([packed(time_s, FRAME) for time_s in moments])
            await client.send([b"torn", packed(100.0, np.full_like(FRAME, 9))])
            answers = [client.ready, *await client.ended()]
    assert {"ready", "gap", "error", "ended"} <= {answer["type"] for answer in answers}
    for answer in answers:
        _check(document, answer)


async def test_error_of_a_window_names_it() -> None:
    with faulty(DEMO) as server:
        async with clients(server) as session, streaming(session, policy="wait") as client:
            document = await _document(session)
            await client.send(frame_messages(MOTION))
            first = await client.next("prediction")
            await tell(server, "break")
            await client.send(frame_messages(MOTION, first_s=len(MOTION) / FPS))
            error = await client.next("error")
        assert await asyncio.to_thread(server.stop) == 0
    assert (error["status"], error["window"], error["start_s"]) == (500, 1, pytest.approx(len(MOTION) / FPS))
    assert error["end_s"] - error["start_s"] == pytest.approx(first["end_s"] - first["start_s"])
    assert "time_s" not in error
    _check(document, error)


async def test_every_answer_and_all_that_clients_send_are_described(live_server: LiveServer) -> None:
    async with clients(live_server) as session:
        document = await _document(session)
    channel = document["channels"]["stream"]
    assert channel["address"] == "/api/v1/stream"
    sent = {"hello", "frame", "end"}
    answers = {reference.rsplit("/", 1)[1] for reference in _references(document["operations"]["answer"]["messages"])}
    assert answers == {"ready", "prediction", "skipped", "gap", "error", "ended"}
    assert set(channel["messages"]) == sent | answers
    assert "still_threshold" in document["components"]["schemas"]["Hello"]["properties"]


async def test_documents_and_the_index_lead_to_it(live_server: LiveServer) -> None:
    async with clients(live_server) as session:
        async with session.get("/openapi.json") as response:
            assert "(asyncapi.json)" in (await response.json())["info"]["description"]
        async with session.get("/") as response:
            assert "GET /asyncapi.json" in (await response.json())["endpoints"]
