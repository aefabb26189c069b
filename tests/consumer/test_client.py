from __future__ import annotations

import asyncio
import base64
import logging
from http import HTTPStatus

import numpy as np
import pytest
from aiohttp import web

from consumer.answer import Answer, Prediction
from consumer.client import LONGEST_RETRY_S, USUAL_RETRY_S, Reply, Service, _pause_s
from consumer.clip import Clip
from consumer.errors import ServiceAnswerError, ServiceRefusedError, ServiceUnreachableError
from tests.consumer.peers import LiveServer, Serve

CLIP = Clip(tuple(np.full((8, 10, 3), 10 * index, np.uint8) for index in range(16)), 0, 16 / 3)
# Nothing listens on the discard port here.
NOBODY = "http://127.0.0.1:9"


def busy(retry_after: str) -> web.Response:
    problem = {"title": "Service Unavailable", "status": 503, "detail": "the queue is full"}
    headers = {"Retry-After": retry_after}
    return web.json_response(problem, status=503, headers=headers, content_type="application/problem+json")


def predictions(clip_id: str = "a") -> web.Response:
    best = [{"label": "Pushing [something]", "confidence": 0.75}]
    return web.json_response({"predictions": best, "clip_id": clip_id, "model": "m", "timings_ms": {"total": 1.5}})


async def classify(url: str, retries: int = 0, timeout_s: float = 30) -> Answer:
    async with Service(url, timeout_s, retries) as service:
        return await service.classify(CLIP, top_k=3)


async def test_a_clip_is_posted_and_its_answer_read(serve: Serve) -> None:
    received = {}

    async def infer(request: web.Request) -> web.Response:
        received.update(await request.json())
        return predictions(received["clip_id"])

    answer = await classify(await serve(infer))
    assert [base64.b64decode(frame) for frame in received["frames"]] == [p.tobytes() for p in CLIP.pictures]
    assert (received["width"], received["height"], received["format"], received["top_k"]) == (10, 8, "RGB", 3)
    assert answer == Answer((Prediction("Pushing [something]", 0.75),), received["clip_id"], "m", {"total": 1.5})


async def test_a_refusal_carries_the_problem(serve: Serve) -> None:
    async def infer(request: web.Request) -> web.Response:
        problem = {"title": "Unprocessable", "status": 422, "detail": "16 frames wanted, 8 sent", "field": "frames"}
        return web.json_response(problem, status=422, content_type="application/problem+json")

    with pytest.raises(ServiceRefusedError) as raised:
        await classify(await serve(infer), retries=3)
    error = raised.value
    assert (error.status, error.title, error.detail, error.field) == (
        422, "Unprocessable", "16 frames wanted, 8 sent", "frames",
    )  # fmt: skip
    assert str(error).startswith("the service refused with 422 Unprocessable: 16 frames wanted, 8 sent (field frames);")
    assert "; help: " in str(error)


async def test_a_refusal_before_the_body_is_read_is_understood(serve: Serve) -> None:
    async def infer(request: web.Request) -> web.Response:
        return web.json_response({"title": "Too large"}, status=413)

    large = Clip(tuple(np.zeros((1080, 1920, 3), np.uint8) for _ in range(16)), 0, 1)
    async with Service(await serve(infer), timeout_s=30, retries=0) as service:
        with pytest.raises(ServiceRefusedError, match=r"413 Too large; help: .*--short-edge"):
            await service.classify(large, None)


async def test_a_busy_service_is_asked_again(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []

    async def infer(request: web.Request) -> web.Response:
        asked.append((await request.json())["clip_id"])
        return busy("0") if len(asked) < 3 else predictions()

    await classify(await serve(infer), retries=2)
    assert len(asked) == 3
    assert len(set(asked)) == 1
    assert caplog.messages == ["service busy, trying again"] * 2


async def test_a_service_that_stays_busy_is_given_up(serve: Serve) -> None:
    asked: list[None] = []

    async def infer(request: web.Request) -> web.Response:
        asked.append(None)
        return busy("0")

    with pytest.raises(ServiceRefusedError, match="503 Service Unavailable: the queue is full"):
        await classify(await serve(infer), retries=2)
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("retry_after", "pause_s"),
    [
        ("0", 0),
        ("7", 7),
        ("99999999999", LONGEST_RETRY_S),
        (None, USUAL_RETRY_S),
        ("-1", USUAL_RETRY_S),
        ("Wed, 21 Oct 2026 07:28:00 GMT", USUAL_RETRY_S),
    ],
)
def test_retry_after_is_honoured_within_reason(retry_after: str | None, pause_s: float) -> None:
    assert _pause_s(Reply(503, b"", retry_after)) == pause_s


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"{}",
        b'{"predictions": [], "clip_id": "a", "model": "m", "timings_ms": {}}',
        b'{"predictions": [{"label": 5, "confidence": 1}], "clip_id": "a", "model": "m", "timings_ms": {}}',
    ],
)
async def test_an_answer_off_the_contract_is_an_error(serve: Serve, body: bytes) -> None:
    async def infer(request: web.Request) -> web.Response:
        return web.Response(body=body)

    with pytest.raises(ServiceAnswerError, match="help: "):
        await classify(await serve(infer))


async def test_a_service_that_does_not_answer_is_unreachable(serve: Serve) -> None:
    never = asyncio.Event()

    async def infer(request: web.Request) -> web.Response:
        await never.wait()
        raise AssertionError

    with pytest.raises(ServiceUnreachableError, match=r"did not answer POST /api/v1/infer in 0\.1 s"):
        await classify(await serve(infer), timeout_s=0.1)


async def test_a_service_that_hangs_up_is_unreachable(serve: Serve) -> None:
    async def infer(request: web.Request) -> web.Response:
        await request.read()
        assert request.transport
        request.transport.close()
        return web.Response()

    with pytest.raises(ServiceUnreachableError, match="cannot be reached: Server disconnected"):
        await classify(await serve(infer))


async def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(ServiceUnreachableError, match=r"connection refused; help: .*VJEPA_SERVICE_URL"):
        await classify(NOBODY)


async def test_waiting_ends_when_the_service_gets_ready(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "consumer")
    polls: list[None] = []

    async def ready(request: web.Request) -> web.Response:
        polls.append(None)
        return busy("1") if len(polls) < 4 else web.json_response({})

    async with Service(await serve(ready=ready), timeout_s=30, retries=0) as service:
        await service.wait_until_ready(wait_s=60)
    assert len(polls) == 4
    assert caplog.messages == ["waiting for the service"]


async def test_a_ready_service_is_not_waited_for(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "consumer")
    async with Service(await serve(), timeout_s=30, retries=0) as service:
        await service.wait_until_ready(wait_s=0)
    assert not caplog.messages


async def test_waiting_has_an_end() -> None:
    async with Service(NOBODY, timeout_s=30, retries=0) as service:
        with pytest.raises(ServiceUnreachableError, match=r"is not ready after 0\.2 s: .*connection refused"):
            await service.wait_until_ready(wait_s=0.2)


async def test_another_kind_of_server_is_not_waited_for(serve: Serve) -> None:
    async def ready(request: web.Request) -> web.Response:
        raise web.HTTPNotFound

    async with Service(await serve(ready=ready), timeout_s=30, retries=0) as service:
        with pytest.raises(ServiceRefusedError, match="404 Not Found; help: check that --service-url"):
            await service.wait_until_ready(wait_s=60)


@pytest.mark.parametrize(
    ("body", "frames"),
    [('{"model": {"frames": 64}}', 64), ('{"model": null}', None), ('{"model": {}}', None), ("hello", None)],
)
async def test_the_frame_count_is_asked_for(serve: Serve, body: str, frames: int | None) -> None:
    async def index(request: web.Request) -> web.Response:
        return web.Response(text=body)

    async with Service(await serve(index=index), timeout_s=30, retries=0) as service:
        assert await service.frame_count() == frames


async def test_a_service_without_a_front_page_does_not_say_its_frame_count(serve: Serve) -> None:
    async with Service(await serve(), timeout_s=30, retries=0) as service:
        assert await service.frame_count() is None


async def test_the_real_service_says_its_frame_count_and_classifies(live_server: LiveServer) -> None:
    random = np.random.default_rng(0)
    async with Service(live_server.url, timeout_s=30, retries=0) as service:
        await service.wait_until_ready(wait_s=30)
        frames = await service.frame_count()
        assert frames is not None
        pictures = tuple(random.integers(0, 256, (292, 389, 3), dtype=np.uint8) for _ in range(frames))
        answer = await service.classify(Clip(pictures, 0, 1), top_k=2)
    assert len(answer.predictions) == 2
    assert answer.predictions[0].confidence >= answer.predictions[1].confidence
    assert set(answer.timings_ms) == {"decode", "queue", "infer", "total"}


async def test_the_real_service_refuses_with_a_problem(live_server: LiveServer) -> None:
    async with Service(live_server.url, timeout_s=30, retries=0) as service:
        with pytest.raises(ServiceRefusedError) as raised:
            await service.classify(Clip(CLIP.pictures[:3], 0, 1), None)
    assert raised.value.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert raised.value.field == "frames"
    assert "3" in raised.value.detail
