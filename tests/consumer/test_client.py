from __future__ import annotations

import asyncio
import base64
import gzip
import time

import numpy as np
import pytest
from aiohttp import web

from consumer.client.answer import Answer, Prediction
from consumer.client.async_client import AsyncClient
from consumer.client.sync_client import Client
from consumer.errors import ServiceAnswerError, ServiceRefusedError, ServiceUnreachableError
from tests.consumer.peers import Serve, busy, predictions
from tests.consumer.processes import UNREACHABLE_URL

MIB = 2**20
CLIP = tuple(np.full((8, 10, 3), 10 * index, np.uint8) for index in range(16))


async def classify(url: str, retries: int = 0, timeout_s: float = 30) -> Answer:
    async with AsyncClient(url, timeout_s=timeout_s, retries=retries, encoding="json") as client:
        return await client.classify(CLIP, top_k=3)


async def test_clip_is_sent_and_answer_decoded(serve: Serve) -> None:
    received = {}

    async def infer(request: web.Request) -> web.Response:
        received.update(await request.json())
        return predictions(received["clip_id"])

    answer = await classify(await serve(infer))
    assert [base64.b64decode(frame) for frame in received["frames"]] == [p.tobytes() for p in CLIP]
    assert (received["width"], received["height"], received["format"], received["top_k"]) == (10, 8, "RGB", 3)
    assert answer == Answer((Prediction("Pushing [something]", 0.75),), received["clip_id"], "m", {"total": 1.5})


async def test_refusal_has_the_members_of_the_problem(serve: Serve) -> None:
    async def infer(request: web.Request) -> web.Response:
        problem = {"title": "Unprocessable", "status": 422, "detail": "16 frames wanted, 8 sent", "field": "frames"}
        return web.json_response(problem, status=422, content_type="application/problem+json")

    with pytest.raises(ServiceRefusedError) as raised:
        await classify(await serve(infer), retries=3)
    error = raised.value
    assert (error.status, error.title, error.detail, error.field) == (
        422, "Unprocessable", "16 frames wanted, 8 sent", "frames",
    )  # fmt: skip
    assert str(error).startswith(
        "the service refused the request with 422 Unprocessable: 16 frames wanted, 8 sent (field frames);"
    )
    assert "; help: " in str(error)


async def test_refusal_before_the_body_is_read_is_reported(serve: Serve) -> None:
    async def infer(request: web.Request) -> web.Response:
        return web.json_response({"title": "Too large"}, status=413)

    large = tuple(np.zeros((1080, 1920, 3), np.uint8) for _ in range(16))
    async with AsyncClient(await serve(infer), retries=0) as service:
        with pytest.raises(ServiceRefusedError, match=r"413 Too large; help: .*--short-edge"):
            await service.classify(large)


async def test_busy_service_is_retried(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []

    async def infer(request: web.Request) -> web.Response:
        asked.append((await request.json())["clip_id"])
        return busy("0") if len(asked) < 3 else predictions()

    await classify(await serve(infer), retries=2)
    assert len(asked) == 3
    assert len(set(asked)) == 1
    assert caplog.messages == ["trying again"] * 2


async def test_service_that_stays_busy_raises_after_all_retries(serve: Serve) -> None:
    asked: list[None] = []

    async def infer(request: web.Request) -> web.Response:
        asked.append(None)
        return busy("0")

    with pytest.raises(ServiceRefusedError, match="503 Service Unavailable: the queue is full"):
        await classify(await serve(infer), retries=2)
    assert len(asked) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"{}",
        b'{"predictions": [], "clip_id": "a", "model": "m", "timings_ms": {}}',
        b'{"predictions": [{"label": 5, "confidence": 1}], "clip_id": "a", "model": "m", "timings_ms": {}}',
        b'{"predictions": [{"label": "a", "confidence": 1e300}], "clip_id": "a", "model": "m", "timings_ms": {}}',
        b'{"predictions": [{"label": "\xe4", "confidence": 1}], "clip_id": "a", "model": "m", "timings_ms": {}}',
        b'{"predictions": ' + b"[" * 100_000,
        b"[]",
        b"null",
    ],
)
async def test_answer_that_violates_the_contract_raises(serve: Serve, body: bytes) -> None:
    async def infer(request: web.Request) -> web.Response:
        return web.Response(body=body)

    with pytest.raises(ServiceAnswerError, match="help: "):
        await classify(await serve(infer))


@pytest.mark.parametrize("kind", [AsyncClient, Client])
async def test_answer_without_end_is_not_read_to_its_end(serve: Serve, kind: type[AsyncClient | Client]) -> None:
    sent_bytes = 0

    async def infer(request: web.Request) -> web.StreamResponse:
        nonlocal sent_bytes
        await request.read()
        endless = web.StreamResponse()
        await endless.prepare(request)
        while sent_bytes < 128 * MIB:
            await endless.write(b" " * MIB)
            sent_bytes += MIB
        return endless

    url = await serve(infer)
    classified = asyncio.to_thread(classify_without_asyncio, url) if kind is Client else classify(url)
    with pytest.raises(ServiceAnswerError, match=f"longer than {4 * MIB} bytes"):
        await classified
    assert sent_bytes < 64 * MIB


def classify_without_asyncio(url: str) -> None:
    with Client(url, retries=0) as client:
        client.classify(CLIP)


async def test_refusal_without_end_keeps_its_status(serve: Serve) -> None:
    async def infer(request: web.Request) -> web.StreamResponse:
        await request.read()
        endless = web.StreamResponse(status=503)
        await endless.prepare(request)
        for _ in range(128):
            await endless.write(b" " * MIB)
        return endless

    with pytest.raises(ServiceRefusedError, match="503 Service Unavailable") as raised:
        await classify(await serve(infer))
    assert raised.value.retriable


async def test_compressed_answer_is_not_inflated(serve: Serve) -> None:
    async def infer(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        await request.read()
        return web.Response(body=gzip.compress(b" " * 64 * MIB), headers={"Content-Encoding": "gzip"})

    with pytest.raises(ServiceAnswerError):
        await classify(await serve(infer))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_refused_and_not_followed(serve: Serve, status: int) -> None:
    asked: list[str] = []

    async def infer(request: web.Request) -> web.Response:
        await request.read()
        asked.append(request.method)
        return web.Response(status=status, headers={"Location": "/"})

    async def index(request: web.Request) -> web.Response:
        asked.append(request.method)
        return predictions()

    with pytest.raises(ServiceRefusedError, match=rf"{status} redirect to /: redirects are not followed"):
        await classify(await serve(infer, index=index))
    assert asked == ["POST"]


async def test_user_of_the_url_is_sent_but_not_shown(serve: Serve) -> None:
    headers = {}

    async def infer(request: web.Request) -> web.Response:
        await request.read()
        headers.update(request.headers)
        return predictions()

    url = (await serve(infer)).replace("http://", "http://user:secret@")
    async with AsyncClient(url) as client:
        await client.classify(CLIP)
        assert "secret" not in client.url
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"user:secret").decode()
    async with AsyncClient(url, api_key="key") as client:
        await client.classify(CLIP)
    assert headers["Authorization"] == "Bearer key"


async def test_timeout_raises_unreachable(serve: Serve) -> None:
    never = asyncio.Event()

    async def infer(request: web.Request) -> web.Response:
        await never.wait()
        raise AssertionError

    with pytest.raises(ServiceUnreachableError, match=r"did not answer POST /api/v1/infer in 0\.1 s"):
        await classify(await serve(infer), timeout_s=0.1)


async def test_closed_connection_raises_unreachable(serve: Serve) -> None:
    async def infer(request: web.Request) -> web.Response:
        await request.read()
        assert request.transport
        request.transport.close()
        return web.Response()

    with pytest.raises(ServiceUnreachableError, match="cannot be reached: Server disconnected"):
        await classify(await serve(infer))


async def test_refused_connection_raises_unreachable() -> None:
    with pytest.raises(ServiceUnreachableError, match=r"connection refused; help: .*VJEPA_SERVICE_URL"):
        await classify(UNREACHABLE_URL)


@pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
async def test_retriable_status_is_retried(serve: Serve, status: int) -> None:
    asked: list[None] = []

    async def infer(request: web.Request) -> web.Response:
        await request.read()
        asked.append(None)
        if len(asked) == 1:
            return web.json_response({"title": "t"}, status=status, headers={"Retry-After": "0"})
        return predictions()

    await classify(await serve(infer), retries=1)
    assert len(asked) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 413, 415, 422, 500])
async def test_other_status_is_not_retried(serve: Serve, status: int) -> None:
    asked: list[None] = []

    async def infer(request: web.Request) -> web.Response:
        await request.read()
        asked.append(None)
        return web.json_response({"title": "t"}, status=status, headers={"Retry-After": "0"})

    with pytest.raises(ServiceRefusedError) as raised:
        await classify(await serve(infer), retries=5)
    assert raised.value.status == status
    assert len(asked) == 1


async def test_pause_is_at_least_retry_after(serve: Serve) -> None:
    times_s: list[float] = []

    async def infer(request: web.Request) -> web.Response:
        await request.read()
        times_s.append(time.monotonic())
        return busy("1") if len(times_s) == 1 else predictions()

    await classify(await serve(infer), retries=1)
    assert times_s[1] - times_s[0] >= 1


async def test_closed_connection_is_retried(serve: Serve) -> None:
    asked: list[None] = []

    async def infer(request: web.Request) -> web.Response:
        await request.read()
        asked.append(None)
        if len(asked) == 1:
            assert request.transport
            request.transport.close()
        return predictions()

    await classify(await serve(infer), retries=1)
    assert len(asked) == 2


async def test_request_carries_key_and_deadline(serve: Serve) -> None:
    headers = {}

    async def infer(request: web.Request) -> web.Response:
        await request.read()
        headers.update(request.headers)
        return predictions()

    async with AsyncClient(await serve(infer), timeout_s=7, api_key="secret") as client:
        await client.classify(CLIP)
    assert (headers["Authorization"], headers["X-Deadline-Ms"]) == ("Bearer secret", "7000")
