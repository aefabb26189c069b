"""Hostile requests of the Open Inference Protocol get documented errors from one process, and leave nothing behind."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.clips.tensors.infer_body import decode_body
from server.errors import RequestError
from tests.live_server import LiveServer, serving
from tests.protocol_fuzz import attack, check_unharmed
from tests.server.peers import clients
from tests.server.tensors import pixels
from tests.server.test_v2_shared_memory import CLIPS

_FOLDER = Path("/dev/shm")


@pytest.fixture(scope="module")
def server(batch_bundle: Path) -> Iterator[LiveServer]:
    with serving(batch_bundle, "--v2-shared-memory", "--log-level", "info") as server:
        yield server
        assert server.stop() == 0
    assert not [entry for entry in server.log if entry["level"] in ("ERROR", "CRITICAL")]


@pytest.mark.skipif(not _FOLDER.is_dir(), reason="this system has no /dev/shm")
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(rng=st.randoms(use_true_random=False))
def test_hostile_requests_get_documented_answers(server: LiveServer, rng: random.Random) -> None:
    asyncio.run(_attack(server, rng))


async def _attack(server: LiveServer, rng: random.Random) -> None:
    async with clients(server) as session:
        await attack(session, rng, 25, key=f"vjepa-test-{uuid.uuid4().hex}", model="batch")
        await check_unharmed(session, server, pixels(CLIPS), "batch")


@settings(max_examples=300, deadline=None)
@given(text=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f'{{"inputs":{text}}}'.encode()))
def test_any_bytes_are_a_request_or_an_error(text: bytes) -> None:
    try:
        decode_body(text)
    except RequestError as error:
        assert error.message.isprintable()  # noqa: PT017 - most texts are errors, some are requests
