"""Bytes in headers that are no text, and encodings that the service does not know, are the client's fault: no 500."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engines.storage.bundle import DEMO
from tests.live_server import LiveServer, serving
from tests.server.conftest import Answer, Post
from tests.server.peers import Peer


async def _get(server: LiveServer, *header: bytes) -> Answer:
    peer = await Peer.connect(server)
    await peer.write(b"\r\n".join([b"GET / HTTP/1.1", b"Host: x", *header, b"", b""]))
    try:
        return await peer.answer()
    finally:
        peer.close()


async def test_a_key_that_is_not_utf_8_is_unknown(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("secret\n")
    with serving(DEMO, "--api-key-file", str(keys)) as server:
        answer = await _get(server, b"Authorization: Bearer \xff")
        assert (answer.status, answer.body["detail"]) == (401, "the key is unknown")
        assert (await _get(server, b"Authorization: Bearer secret")).status == 200


async def test_an_expectation_that_is_not_utf_8_is_refused_as_unreadable() -> None:
    with serving(DEMO) as server:
        answer = await _get(server, b"Expect: \xff")
        assert answer.status == 400
        assert "not UTF-8" in answer.body["detail"]
        entry = await asyncio.to_thread(server.wait_for, "malformed request")
        assert entry["level"] == "INFO"
        assert not [entry for entry in server.log if entry["level"] in ("ERROR", "PRINTED")]


@pytest.mark.parametrize("encoding", ["snappy", "gzip, gzip"])
async def test_an_unknown_content_encoding_is_refused_by_its_name(post: Post, encoding: str) -> None:
    answer = await post(data=b"{}", headers={"Content-Type": "application/json", "Content-Encoding": encoding})
    assert (answer.status, answer.body["field"]) == (415, "Content-Encoding")
    assert f"Content-Encoding is {encoding}; accepted: identity, gzip, deflate" in answer.body["detail"]
