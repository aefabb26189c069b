"""Both clients and the real service."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus

import numpy as np
import pytest

from consumer.client.async_client import AsyncClient
from consumer.client.encodings import Encoding
from consumer.client.sync_client import Client
from consumer.client.wire import Health
from consumer.errors import ClipError, ServiceRefusedError
from tests.consumer.peers import LiveServer


@pytest.mark.parametrize("encoding", ["raw", "jpeg", "json"])
async def test_real_service_reports_its_model_and_classifies(live_server: LiveServer, encoding: Encoding) -> None:
    smooth = np.add.outer(np.arange(292), np.arange(389))[..., None] // 3 + np.array([0, 20, 40])
    async with AsyncClient(live_server.url, encoding=encoding) as client:
        await client.wait_until_ready(wait_s=30)
        (model,) = await client.models()
        assert model == await client.model()
        assert (model.name, model.frames, len(model.labels)) == ("demo", 16, 11)
        frames = np.stack([(smooth + 3 * index).clip(0, 255).astype(np.uint8) for index in range(model.frames)])
        answer = await client.classify(frames, top_k=2, clip_id="my clip & yours")
        other_order = await client.classify(frames[..., ::-1], top_k=2, pixel_format="BGR")
        health = await client.health()
    assert len(answer.predictions) == 2
    assert answer.clip_id == "my clip & yours"
    assert answer.predictions[0].confidence >= answer.predictions[1].confidence
    assert set(answer.timings_ms) == {"decode", "queue", "infer", "total"}
    assert [each.label for each in other_order.predictions] == [each.label for each in answer.predictions]
    assert other_order.predictions[0].confidence == pytest.approx(answer.predictions[0].confidence, abs=0.02)
    assert health == Health("healthy", model_loaded=True)


def test_sync_client(live_server: LiveServer) -> None:
    frames = np.zeros((16, 64, 64, 3), np.uint8)
    with Client(live_server.url) as client:
        answer = client.classify(frames)
        assert answer.predictions[0].confidence > 0
        assert client.health().status == "healthy"
        model = client.model()
        assert model is not None
        assert model.frames == 16
        client.wait_until_ready(0)
        with pytest.raises(ServiceRefusedError, match="422"):
            client.classify(frames[:3])
        with pytest.raises(ClipError):
            client.classify([])


def test_threads_share_one_client(live_server: LiveServer) -> None:
    with Client(live_server.url) as client, ThreadPoolExecutor(8) as threads:
        ids = [f"clip {index}" for index in range(24)]
        frames = np.zeros((16, 32, 32, 3), np.uint8)
        answers = list(threads.map(lambda clip_id: client.classify(frames, clip_id=clip_id), ids))
    assert [answer.clip_id for answer in answers] == ids


async def test_the_real_service_refuses_with_a_problem(live_server: LiveServer) -> None:
    async with AsyncClient(live_server.url, retries=0) as service:
        with pytest.raises(ServiceRefusedError) as raised:
            await service.classify(np.zeros((3, 8, 10, 3), np.uint8))
    assert raised.value.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert raised.value.field == "frames"
    assert "3" in raised.value.detail
