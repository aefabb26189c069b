"""The classification of a clip without HTTP, as another protocol would use it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import numpy as np
import pytest

from engines.storage.bundle import DEMO
from server.clips.lease import Lease
from server.clips.upload import NewMemory
from server.config.model_sources import source_of
from server.config.settings import Settings
from server.errors import DeadlineError, InvalidError, NotReadyError, TooLargeError, UnsupportedMediaError
from server.limits.admission import Admission, RequestMemory
from server.serving.classify import Classification, Terms, classify
from server.serving.deployment import load_bundle
from server.serving.loader import Loader
from server.serving.service import Service, State
from server.telemetry.metrics import Metrics
from tests.live_server import ROOT
from tests.server.peers import encoded, small_clips

FRAMES = small_clips(1)[0]
HEIGHT, WIDTH = FRAMES.shape[1:3]
QUERY = {"width": str(WIDTH), "height": str(HEIGHT), "format": "RGB", "clip_id": "c"}


@dataclass
class BytesUpload:
    """An upload whose body is already in memory."""

    body: bytes
    content_type: str
    memory: RequestMemory
    lease: Lease
    fields: dict[str, str]
    max_bytes: int = 2**26

    @property
    def query(self) -> Iterable[tuple[str, str]]:
        return self.fields.items()

    @property
    def announced_bytes(self) -> int:
        return len(self.body)

    @property
    def length(self) -> int | None:
        return len(self.body)

    def check_length(self) -> None:
        if len(self.body) > self.max_bytes:
            raise TooLargeError("too long")

    async def read(self) -> bytearray:
        self.memory.add(len(self.body))
        return bytearray(self.body)

    async def read_into(self, size_bytes: int, new_memory: NewMemory) -> int:
        self.memory.add(len(self.body))
        new_memory(size_bytes)[: len(self.body)] = self.body
        return len(self.body)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    settings = Settings(models=(source_of(DEMO),), queue_size=4)
    metrics = Metrics(state.value for state in State)
    service = Service(settings, metrics, Admission(settings.queue_size, settings.max_inflight_bytes))
    try:
        await Loader(service, load_bundle).start()
        yield service
    finally:
        await service.close()


async def _classify(
    service: Service, body: bytes, content_type: str, fields: dict[str, str], deadline_ms: int = 60_000
) -> Classification:
    terms = Terms(began_s=asyncio.get_running_loop().time(), deadline_ms=deadline_ms)
    with Lease() as lease:
        memory = lease.take(service.admission.request_memory())
        return await classify(
            service, BytesUpload(body, content_type, memory, lease, fields), terms, lambda model: None
        )


async def test_encodings_give_the_same_answer_and_release_everything(service: Service) -> None:
    packed = await _classify(service, FRAMES.tobytes(), "application/octet-stream", QUERY)
    json = await _classify(service, encoded(FRAMES), "application/json; charset=utf-8", {})
    np.testing.assert_allclose(packed.probabilities, json.probabilities, atol=1e-6)
    assert packed.request.clip_id == "c"
    assert packed.top_label == json.top_label == packed.manifest.labels[int(np.argmax(packed.probabilities))]
    assert packed.times.total_ms >= packed.times.read_ms + packed.times.decode_ms + packed.times.infer_ms > 0
    assert (service.admission.clips, service.admission.held_bytes) == (0, 0)


async def test_refused_requests_release_everything(service: Service) -> None:
    with pytest.raises(UnsupportedMediaError, match="text/plain"):
        await _classify(service, b"", "text/plain", {})
    with pytest.raises(InvalidError, match="15 frames"):
        await _classify(service, FRAMES[:15].tobytes(), "application/octet-stream", QUERY)
    with pytest.raises(DeadlineError):
        await _classify(service, encoded(FRAMES), "application/json", {}, deadline_ms=0)
    async with asyncio.timeout(60):
        while service.admission.clips:  # until the thread that decodes it has ended
            await asyncio.sleep(0)
    assert (service.admission.clips, service.admission.held_bytes) == (0, 0)


async def test_draining_service_refuses_clips(service: Service) -> None:
    service.start_draining(accepting=False)
    with pytest.raises(NotReadyError, match="draining"):
        await _classify(service, encoded(FRAMES), "application/json", {})


def test_serving_and_clips_work_without_aiohttp() -> None:
    program = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "import server.serving.classify, server.clips.clip_reader, server.limits.admission\n"
        "print('server.http' in sys.modules)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
