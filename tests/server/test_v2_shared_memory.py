"""Tensors in shared memory: right answers, and clients that truncate, replace and unlink what they registered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from server.clips.tensors.regions import MAX_REGIONS
from tests.faulty_server import marked
from tests.live_server import LiveServer
from tests.server.peers import clients, faulty, metrics, small_clips, tell, until_metric
from tests.server.tensors import Clips, Reply, TensorRequest, ask, images, in_region, pixels

CLIPS: Clips = np.stack(small_clips(2))
OUTPUT_BYTES = 4 * 11 * len(CLIPS)
REGION = "/v2/systemsharedmemory/region/{}/{}"
_FOLDER = Path("/dev/shm")

pytestmark = pytest.mark.skipif(not _FOLDER.is_dir(), reason="this system has no /dev/shm")


@pytest.fixture(scope="module")
def server(batch_bundle: Path) -> Iterator[LiveServer]:
    with faulty(batch_bundle, "--v2-shared-memory") as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
async def client(server: LiveServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with clients(server) as session:
        yield session
        async with session.post("/v2/systemsharedmemory/unregister") as response:
            assert response.status == 200


@pytest.fixture
def shared() -> Iterator[Path]:
    """A file of shared memory that does not exist yet."""
    path = _FOLDER / f"vjepa-test-{uuid.uuid4().hex}"
    yield path
    path.unlink(missing_ok=True)


async def _register(client: aiohttp.ClientSession, name: str, key: str, size: int, offset: int = 0) -> tuple[int, Any]:
    body = {"key": key, "byte_size": size, "offset": offset}
    async with client.post(REGION.format(name, "register"), json=body) as response:
        return response.status, await response.json(content_type=None)


async def _registered(client: aiohttp.ClientSession, path: Path, content: bytes, name: str = "clips") -> None:
    path.write_bytes(content)
    assert (await _register(client, name, f"/{path.name}", len(content)))[0] == 200


def _asking_for_region(sent: TensorRequest, **parameters: Any) -> TensorRequest:
    sent.head["outputs"] = [{"name": "probabilities", "parameters": parameters}]
    return sent


def _open_regions(server: LiveServer) -> int:
    """How many descriptors of shared memory of these tests the server has."""
    found = 0
    for link in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += "vjepa-test-" in str(link.readlink())
    return found


async def test_inputs_and_outputs_in_regions_get_the_answers_of_the_body(
    client: aiohttp.ClientSession, shared: Path
) -> None:
    expected = (await ask(client, pixels(CLIPS))).probabilities()
    await _registered(client, shared, bytes(64) + CLIPS.tobytes() + b"?" * 4096)
    sent = in_region(CLIPS.shape, "UINT8", "clips", CLIPS.nbytes, offset=64)
    np.testing.assert_allclose((await ask(client, sent)).probabilities(), expected, atol=1e-6)
    place = {
        "shared_memory_region": "clips",
        "shared_memory_offset": 64 + CLIPS.nbytes,
        "shared_memory_byte_size": 4096,
    }
    (told,) = (await ask(client, _asking_for_region(sent, **place))).head["outputs"]
    assert told["parameters"] == place | {"shared_memory_byte_size": OUTPUT_BYTES}
    assert "data" not in told
    written = np.frombuffer(shared.read_bytes(), np.uint8)[64 + CLIPS.nbytes :]
    np.testing.assert_allclose(written[:OUTPUT_BYTES].view("<f4").reshape(expected.shape), expected, atol=1e-6)
    assert bytes(written[OUTPUT_BYTES:]) == b"?" * (4096 - OUTPUT_BYTES)


async def test_images_in_a_region_get_the_answers_of_the_body(client: aiohttp.ClientSession, shared: Path) -> None:
    sent = images(CLIPS)
    await _registered(client, shared, sent.data)
    reply = await ask(client, in_region(CLIPS.shape[:2], "BYTES", "clips", len(sent.data)))
    np.testing.assert_allclose(reply.probabilities(), (await ask(client, sent)).probabilities(), atol=1e-6)


async def test_output_may_overwrite_the_input_that_it_was_made_of(client: aiohttp.ClientSession, shared: Path) -> None:
    expected = (await ask(client, pixels(CLIPS))).probabilities()
    await _registered(client, shared, CLIPS.tobytes())
    sent = in_region(CLIPS.shape, "UINT8", "clips", CLIPS.nbytes)
    place = {"shared_memory_region": "clips", "shared_memory_byte_size": OUTPUT_BYTES}
    assert (await ask(client, _asking_for_region(sent, **place))).status == 200
    written = np.frombuffer(shared.read_bytes()[:OUTPUT_BYTES], "<f4").reshape(expected.shape)
    np.testing.assert_allclose(written, expected, atol=1e-6)


async def test_regions_are_listed_until_they_are_unregistered(
    client: aiohttp.ClientSession, server: LiveServer, shared: Path
) -> None:
    await _registered(client, shared, bytes(100))
    assert (await _register(client, "part", f"/{shared.name}", 10, 90))[0] == 200
    part = {"name": "part", "key": f"/{shared.name}", "offset": 90, "byte_size": 10}
    async with client.get(REGION.format("part", "status")) as response:
        assert await response.json() == [part]
    async with client.get("/v2/systemsharedmemory/status") as response:
        assert [one["name"] for one in await response.json()] == ["clips", "part"]
    async with client.post(REGION.format("clips", "unregister")) as response:
        assert response.status == 200
    async with client.post(REGION.format("clips", "unregister")) as response:
        assert response.status == 404
    assert _open_regions(server) == 1
    async with client.get("/v2/cudasharedmemory/status") as response:
        assert await response.json() == []


@pytest.mark.parametrize(
    ("key", "size", "offset", "words"),
    [
        ("/nothing-of-this-name", 1, 0, "cannot be opened"),
        ("/../../etc/passwd", 1, 0, "no name of shared memory"),
        ("..", 1, 0, "no name of shared memory"),
        ("/", 1, 0, "no name of shared memory"),
        ("/\0", 1, 0, "no name of shared memory"),
        ("/" + "x" * 240 + "\u00fc" * 10, 1, 0, "no name of shared memory"),
        ("KEY", 101, 0, "has 100 bytes"),
        ("KEY", 1, 100, "has 100 bytes"),
        ("KEY", 2**62, 2**62, "has 100 bytes"),
        ("KEY", 0, 0, "has 100 bytes"),
        ("KEY", -1, 0, "byte_size"),
        ("KEY", 1, -1, "offset"),
        ("KEY", 2**64, 0, "byte_size"),
        ("LINK", 1, 0, "cannot be opened"),
        ("FIFO", 1, 0, "is no shared memory"),
        ("FOLDER", 1, 0, ""),
    ],
)
async def test_registrations_that_are_refused(
    client: aiohttp.ClientSession, server: LiveServer, shared: Path, key: str, size: int, offset: int, words: str
) -> None:
    shared.write_bytes(bytes(100))
    other = shared.with_name(f"{shared.name}-other")
    made = {"LINK": lambda: other.symlink_to(shared), "FIFO": lambda: os.mkfifo(other), "FOLDER": other.mkdir}
    try:
        if key in made:
            made[key]()
        name = {"KEY": shared.name}.get(key, other.name if key in made else key)
        status, problem = await _register(client, "clips", name, size, offset)
        assert (status, words in problem["error"]) == (422, True), problem
        assert _open_regions(server) == 0
    finally:
        if other.is_dir():
            other.rmdir()
        else:
            other.unlink(missing_ok=True)


async def test_a_registration_that_is_no_json_is_refused(client: aiohttp.ClientSession) -> None:
    for body, status in ((b"{", 400), (b"[]", 422), (b"{}", 422), (b'{"key": 3, "byte_size": 1}', 422), (b"\xff", 400)):
        async with client.post(REGION.format("clips", "register"), data=body) as response:
            assert response.status == status
    async with client.post(REGION.format("clips", "register"), data=bytes(100_000)) as response:
        assert response.status == 413


async def test_no_more_regions_are_registered_than_have_descriptors(
    client: aiohttp.ClientSession, server: LiveServer, shared: Path
) -> None:
    shared.write_bytes(bytes(100))
    statuses = [(await _register(client, f"r{number}", shared.name, 100))[0] for number in range(MAX_REGIONS + 5)]
    assert statuses == [200] * MAX_REGIONS + [422] * 5
    assert (await _register(client, "r0", shared.name, 100))[0] == 422
    assert _open_regions(server) == MAX_REGIONS
    async with client.post("/v2/systemsharedmemory/unregister") as response:
        assert response.status == 200
    assert _open_regions(server) == 0


@pytest.mark.parametrize(("offset", "size"), [(1, 0), (2**62, 0), (0, 1), (0, 2**62), (2**63 - 1, 2**62)])
async def test_places_beyond_the_region_are_refused(
    client: aiohttp.ClientSession, shared: Path, offset: int, size: int
) -> None:
    await _registered(client, shared, CLIPS.tobytes())
    sent = in_region(CLIPS.shape, "UINT8", "clips", CLIPS.nbytes + size, offset)
    reply = await ask(client, sent)
    assert reply.status == 422, reply.head
    place = {"shared_memory_region": "clips", "shared_memory_byte_size": CLIPS.nbytes + size}
    reply = await ask(client, _asking_for_region(pixels(CLIPS), shared_memory_offset=offset, **place))
    assert (reply.status, "are not in the region" in reply.head["error"]) == (422, True)


async def test_an_output_that_is_larger_than_its_place_is_refused(client: aiohttp.ClientSession, shared: Path) -> None:
    await _registered(client, shared, bytes(4096))
    place = {"shared_memory_region": "clips", "shared_memory_byte_size": OUTPUT_BYTES - 1}
    for classes in (0, 11):
        reply = await ask(client, _asking_for_region(pixels(CLIPS), classification=classes, **place))
        assert (reply.status, "but shared_memory_byte_size is" in reply.head["error"]) == (422, True)
    assert shared.read_bytes() == bytes(4096)


async def test_unknown_region_is_404(client: aiohttp.ClientSession) -> None:
    reply = await ask(client, in_region(CLIPS.shape, "UINT8", "nothing", CLIPS.nbytes))
    assert (reply.status, reply.head["error"]) == (404, "no region 'nothing' is registered")


async def test_truncated_region_is_an_error_and_the_process_goes_on(
    client: aiohttp.ClientSession, server: LiveServer, shared: Path
) -> None:
    await _registered(client, shared, CLIPS.tobytes())
    for length in (0, 4096, CLIPS.nbytes - 1):
        os.truncate(shared, length)
        for shape, kind in ((CLIPS.shape, "UINT8"), (CLIPS.shape[:2], "BYTES")):
            reply = await ask(client, in_region(shape, kind, "clips", CLIPS.nbytes))
            assert (reply.status, "was truncated" in reply.head["error"]) == (422, True)
        place = {"shared_memory_region": "clips", "shared_memory_offset": CLIPS.nbytes - OUTPUT_BYTES}
        sent = _asking_for_region(pixels(CLIPS), shared_memory_byte_size=OUTPUT_BYTES, **place)
        reply = await ask(client, sent)
        assert (reply.status, "was truncated" in reply.head["error"]) == (422, True)
        assert shared.stat().st_size == length
    assert server.process.poll() is None
    assert (await metrics(client))["vjepa_admitted_clips"] == 0


async def test_unlinked_and_replaced_regions_stay_what_was_registered(
    client: aiohttp.ClientSession, shared: Path
) -> None:
    expected = (await ask(client, pixels(CLIPS))).probabilities()
    await _registered(client, shared, CLIPS.tobytes())
    sent = in_region(CLIPS.shape, "UINT8", "clips", CLIPS.nbytes)
    shared.unlink()
    np.testing.assert_allclose((await ask(client, sent)).probabilities(), expected, atol=1e-6)
    shared.write_bytes(bytes(10))
    np.testing.assert_allclose((await ask(client, sent)).probabilities(), expected, atol=1e-6)


async def test_region_may_be_unregistered_and_truncated_while_a_request_uses_it(
    client: aiohttp.ClientSession, server: LiveServer, shared: Path
) -> None:
    await _registered(client, shared, np.stack([marked(clip) for clip in CLIPS]).tobytes())
    place = {"shared_memory_region": "clips", "shared_memory_byte_size": OUTPUT_BYTES}
    sent = _asking_for_region(in_region(CLIPS.shape, "UINT8", "clips", CLIPS.nbytes), **place)
    await tell(server, "hold")
    held = [asyncio.create_task(ask(client, sent)) for _ in range(2)]
    await until_metric(client, "vjepa_admitted_clips", lambda clips: clips == 4)
    await asyncio.to_thread(server.wait_for, "in engine")
    async with client.post(REGION.format("clips", "unregister")) as response:
        assert response.status == 200
    assert _open_regions(server) == 1
    os.truncate(shared, 0)
    await tell(server, "release")
    replies: list[Reply] = await asyncio.gather(*held)
    assert [(reply.status, "was truncated" in reply.head["error"]) for reply in replies] == [(422, True)] * 2
    assert _open_regions(server) == 0
    assert shared.stat().st_size == 0
