"""The features of clips over HTTP: the same in every encoding and every form of the answer, and those of the engine."""

from __future__ import annotations

import contextlib

import aiohttp
import numpy as np
import pybase64
import pytest
from yarl import URL

from engines.clip import Clip as EngineClip
from engines.runtimes.registry import load_engine
from engines.storage.bundle import DEMO, open_bundle
from export.demo.rendering.clips import Clip
from tests.server.requests import ENCODINGS, Sent, octet_request, raw_body


async def _embed(session: aiohttp.ClientSession, sent: Sent, query: str = "", **headers: str) -> aiohttp.ClientResponse:
    path = URL(f"/api/v1/embed{sent.query}{query}", encoded=True)
    headers = {"Content-Type": sent.content_type, **headers}
    return await session.post(path, data=sent.body, headers=headers)


@pytest.fixture(scope="module")
def expected(clip: Clip) -> np.ndarray:
    with contextlib.closing(load_engine(open_bundle(DEMO))) as engine:
        features = engine.infer([EngineClip(np.ascontiguousarray(clip.frames), "RGB")]).features
        assert features is not None
        return features[0]


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_features_are_those_of_the_engine_in_every_encoding(
    session: aiohttp.ClientSession, clip: Clip, expected: np.ndarray, encoding: str
) -> None:
    response = await _embed(session, ENCODINGS[encoding](clip.frames))
    body = await response.json()
    assert response.status == 200, body
    assert body.keys() == {"embedding", "dim", "clip_id", "model", "sha256", "timings_ms"}
    assert (body["dim"], body["sha256"]) == (len(expected), open_bundle(DEMO).manifest.features_identity())
    found = np.array(body["embedding"], np.float32)

    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


async def test_base64_and_bytes_are_the_same_features_as_numbers(session: aiohttp.ClientSession, clip: Clip) -> None:
    sent = octet_request(clip.frames)
    numbers = await (await _embed(session, sent)).json()
    text = await (await _embed(session, sent, "&encoding_format=base64")).json()
    raw = await _embed(session, sent, Accept="application/octet-stream")
    assert raw.content_type == "application/octet-stream"
    assert raw.headers["X-Features-Sha256"] == numbers["sha256"]
    expected = np.array(numbers["embedding"], "<f4").tobytes()
    assert pybase64.b64decode(text["embedding"]) == expected == await raw.read()


@pytest.mark.parametrize(
    ("field", "value", "path", "words"),
    [
        ("encoding_format", "hex", "embed", "encoding_format is hex; accepted: float, base64"),
        ("top_k", 2, "embed", "top_k is no field of this endpoint"),
        ("head", "door", "embed", "head is no field of this endpoint"),
        ("encoding_format", "float", "infer", "encoding_format is no field of this endpoint"),
    ],
)
async def test_fields_of_the_other_endpoint_are_refused(
    session: aiohttp.ClientSession, clip: Clip, field: str, value: object, path: str, words: str
) -> None:
    async with session.post(f"/api/v1/{path}", json=raw_body(clip.frames) | {field: value}) as response:
        body = await response.json()
    assert (response.status, body["field"]) == (422, field)
    assert words in body["detail"]
