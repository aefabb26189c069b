"""HTTP in several processes: the same service, and what becomes of it when one of its processes is killed."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import select
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engines.bundle import DEMO
from export.demo.labels import LABELS
from server.http_workers.backoff import Backoff
from tests.faulty_server import marked
from tests.live_server import LiveServer, run_module, serving
from tests.server.conftest import Answer
from tests.server.peers import (
    Peer,
    clients,
    confidences,
    encoded,
    faulty,
    metrics,
    post_head,
    send,
    small_clips,
    tell,
    until_metric,
)
from tests.server.requests import encode, image_body

FRAMES = small_clips(4)
BODY = encoded(FRAMES[0])
ALL = len(LABELS)
TWO = ("--http-workers", "2")
_JSON = {"Content-Type": "application/json"}
SERVES = "http worker serves"


@pytest.fixture(scope="module")
def two_workers() -> Iterator[LiveServer]:
    with serving(DEMO, *TWO) as server:
        yield server
        assert server.stop() == 0


def _pids(server: LiveServer) -> dict[int, int]:
    """Of each worker, the newest process."""
    return {entry["worker"]: entry["pid"] for entry in server.entries(SERVES)}


def _wait_for_end(pid: int) -> None:
    """Until the process has ended; fails when it does not."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        ended, _, _ = select.select([descriptor], [], [], 60)
        os.close(descriptor)
        assert ended, f"{pid} does not end"


async def _ask(peer: Peer, body: bytes) -> Answer:
    await peer.write(post_head(len(body)), body)
    return await peer.answer()


async def _peer_of_each(server: LiveServer) -> list[Peer]:
    """Two clients, which are handed to a worker each."""
    return [await Peer.connect(server), await Peer.connect(server)]


def _requests() -> dict[str, tuple[str, str, dict[str, Any]]]:
    images = image_body(encode(FRAMES[1], ".png"), clip_id="images")
    infer = ("POST", "/api/v1/infer")
    return {
        "raw": (*infer, {"data": encoded(FRAMES[0], clip_id="raw", top_k=ALL), "headers": _JSON}),
        "images": (*infer, {"json": images}),
        "no JSON": (*infer, {"data": b"{", "headers": _JSON}),
        "other type": (*infer, {"data": b"{"}),
        "no frames": (*infer, {"json": {"frames": []}}),
        "too large": (*infer, {"data": b"{" * (65 * 2**20), "headers": _JSON}),
        "too many pixels": (*infer, {"json": {"frames": [""] * 16, "width": 16384, "height": 16384}}),
        "bad deadline": (*infer, {"data": BODY, "headers": {"X-Deadline-Ms": "soon"} | _JSON}),
        "index": ("GET", "/", {}),
        "health": ("GET", "/health", {}),
        "ready": ("GET", "/health/ready", {}),
        "no such path": ("GET", "/nowhere", {}),
    }


@pytest.mark.parametrize("name", _requests())
async def test_answers_are_those_of_one_process(name: str, live_server: LiveServer, two_workers: LiveServer) -> None:
    method, path, request = _requests()[name]
    answers = []
    for server in (live_server, two_workers):
        async with aiohttp.ClientSession(server.url) as session, session.request(method, path, **request) as response:
            body = await response.json(content_type=None)
            for field in ("timings_ms", "request_id"):
                body.pop(field, None)
            answers.append((response.status, response.content_type, body))
    assert answers[0] == answers[1]


async def test_connections_are_spread_evenly_and_logs_say_who_served(two_workers: LiveServer) -> None:
    async with clients(two_workers) as session:
        await until_metric(session, "vjepa_connections", lambda connections: connections == 1)
    peers = [await Peer.connect(two_workers) for _ in range(8)]
    for index, peer in enumerate(peers):
        head = post_head(len(BODY), f"X-Request-Id: spread-{index}")
        await peer.write(head, BODY)
        assert (await peer.answer()).status == 200
    async with clients(two_workers) as session:
        counted = await metrics(session)
    for peer in peers:
        peer.close()
    await asyncio.to_thread(two_workers.wait_for, "request", 8)
    served = [entry["worker"] for entry in two_workers.log if str(entry.get("request_id")).startswith("spread-")]
    assert collections.Counter(served) == {1: 4, 2: 4}
    open_of_each = [counted[f'vjepa_http_worker_connections{{worker="{worker}"}}'] for worker in (1, 2)]
    assert sum(open_of_each) == counted["vjepa_connections"] == 9
    for worker in (1, 2):
        assert counted[f'vjepa_http_worker_resident_bytes{{worker="{worker}"}}'] > 2**20
        assert counted[f'vjepa_http_worker_cpu_seconds_total{{worker="{worker}"}}'] > 0


async def test_clips_of_all_workers_share_batches(batch_bundle: Path) -> None:
    with faulty(batch_bundle, *TWO) as server:
        peers = await _peer_of_each(server)
        async with clients(server) as session:
            alone = [confidences(await _ask(peers[0], encoded(frames, top_k=ALL))) for frames in FRAMES]
            await tell(server, "hold")
            plug = asyncio.create_task(send(session, BODY))
            await until_metric(session, "vjepa_admitted_clips", lambda clips: clips == 1)
            await until_metric(session, "vjepa_queue_clips", lambda clips: clips == 0)
            asked = [
                asyncio.create_task(_ask(peer, encoded(frames, top_k=ALL)))
                for peer, frames in zip(peers, FRAMES[:2], strict=True)
            ]
            await until_metric(session, "vjepa_queue_clips", lambda clips: clips == 2)
            before = (await metrics(session))["vjepa_batch_clips_count"]
            await tell(server, "release")
            answers = await asyncio.gather(*asked)
            assert (await plug).status == 200
            counted = await metrics(session)
        assert await asyncio.to_thread(server.stop) == 0
    assert [confidences(answer) for answer in answers] == [pytest.approx(one, abs=1e-4) for one in alone[:2]]
    assert server.entries("in engine")[-1]["clips"] == 2
    assert counted["vjepa_batch_clips_count"] == before + 1
    assert {entry["worker"] for entry in server.entries("request")} == {1, 2}


async def test_a_killed_worker_loses_only_its_own_requests_and_is_replaced() -> None:
    with faulty(DEMO, *TWO) as server:
        peers = await _peer_of_each(server)
        async with clients(server) as session:
            await tell(server, "hold")
            asked = [
                asyncio.create_task(_ask(peer, encoded(marked(FRAMES[0], number)))) for number, peer in enumerate(peers)
            ]
            await until_metric(session, "vjepa_admitted_clips", lambda clips: clips == 2)
            await until_metric(session, "vjepa_queue_clips", lambda clips: clips == 1)
            await session.close()
            killed = await _kill(server, 1)
            done, others = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(done.pop().exception(), (asyncio.IncompleteReadError, ConnectionError))
        (other,) = others
        await tell(server, "release")
        assert (await other).status == 200
        died = server.wait_for("http worker died")
        assert (died["worker"], died["pid"], died["exit_code"], died["requests_lost"]) == (1, killed, -9, 1)
        await asyncio.to_thread(server.wait_for, SERVES, 3)
        for peer in await _peer_of_each(server):
            assert (await _ask(peer, BODY)).status == 200
            peer.close()
        async with clients(server) as session:
            for gauge in ("vjepa_admitted_clips", "vjepa_inflight_bytes", "vjepa_queue_clips"):
                await until_metric(session, gauge, lambda value: value == 0)
            counted = await metrics(session)
        assert await asyncio.to_thread(server.stop) == 0
    assert counted["vjepa_http_worker_deaths_total"] == 1
    assert counted["vjepa_requests_received_total"] == 4
    assert counted['vjepa_requests_total{outcome="answered"}'] == 3
    assert counted['vjepa_requests_total{outcome="failed"}'] == 1
    assert {entry["worker"] for entry in server.entries("request")} == {1, 2}


async def _kill(server: LiveServer, worker: int) -> int:
    """SIGKILL; the process."""
    pid = _pids(server)[worker]
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(server.wait_for, "http worker died", len(server.entries("http worker died")) + 1)
    return pid


async def test_workers_that_die_under_load_leave_nothing_behind(batch_bundle: Path) -> None:
    statuses: collections.Counter[int | str] = collections.Counter()
    stop = asyncio.Event()
    flags = ("--max-body-mb", "1", "--max-clip-mb", "1", "--max-inflight-mb", "2")
    with serving(batch_bundle, *TWO, *flags) as server:
        load = [asyncio.create_task(_keep_asking(server, FRAMES[index % 4], statuses, stop)) for index in range(8)]
        for death in range(1, 6):
            answered = statuses[200]
            while statuses[200] < answered + 20:
                await asyncio.sleep(0.01)
            os.kill(_pids(server)[death % 2 + 1], signal.SIGKILL)
            await asyncio.to_thread(server.wait_for, SERVES, 2 + death)
        stop.set()
        await asyncio.gather(*load)
        async with clients(server) as session:
            for gauge, rest in (("vjepa_admitted_clips", 0), ("vjepa_inflight_bytes", 0), ("vjepa_connections", 1)):
                await until_metric(session, gauge, lambda value, rest=rest: value == rest)
            counted = await metrics(session)
            # All that clips may take at once has to be free again.
            answers = await asyncio.gather(*(send(session, BODY) for _ in range(20)))
        assert await asyncio.to_thread(server.stop) == 0
    assert {answer.status for answer in answers} == {200}
    assert statuses.keys() <= {200, "lost"}
    assert statuses["lost"] <= 5 * 8
    ended = sum(value for series, value in counted.items() if series.startswith("vjepa_requests_total"))
    assert counted["vjepa_requests_received_total"] == ended
    assert counted["vjepa_http_worker_deaths_total"] == 5
    assert len(server.entries("http worker died")) == 5


async def _keep_asking(
    server: LiveServer, frames: Any, statuses: collections.Counter[int | str], stop: asyncio.Event
) -> None:
    """One connection after the other, each for as long as it lives; every answer has to be that of the clip."""
    body, expected = encoded(frames, top_k=ALL), None
    while not stop.is_set():
        with contextlib.closing(await Peer.connect(server)) as peer:
            try:
                while not stop.is_set():
                    answer = await _ask(peer, body)
                    statuses[answer.status] += 1
                    expected = expected or confidences(answer)
                    assert confidences(answer) == pytest.approx(expected, abs=1e-4)
            except (asyncio.IncompleteReadError, ConnectionError):
                statuses["lost"] += 1


async def test_workers_that_die_again_and_again_are_replaced_ever_later() -> None:
    with serving(DEMO, *TWO) as server:
        for death in (1, 2, 3):
            await _kill(server, 1)
            await asyncio.to_thread(server.wait_for, SERVES, 2 + death)
        assert [entry["replaced_in_s"] for entry in server.entries("http worker died")] == [0, 0.5, 1]
        async with clients(server) as session:
            assert (await send(session, BODY)).status == 200
        assert await asyncio.to_thread(server.stop) == 0


async def test_a_killed_engine_process_fails_everything_cleanly_and_nothing_remains() -> None:
    with faulty(DEMO, *TWO) as server:
        waiting, (slow, *_) = await _peer_of_each(server), await _peer_of_each(server)
        async with clients(server) as session:
            await tell(server, "hold")
            asked = [asyncio.create_task(_ask(peer, BODY)) for peer in waiting]
            await slow.write(post_head(len(BODY)), BODY[:-1])
            await until_metric(session, "vjepa_admitted_clips", lambda clips: clips == 2)
        workers = _pids(server)
        for pid in (server.process.pid, *workers.values()):
            assert _shares_clips(pid)
        server.process.kill()
        answers = await asyncio.gather(*asked)
        await slow.write(BODY[-1:])
        answers.append(await slow.answer())
        for pid in workers.values():
            await asyncio.to_thread(_wait_for_end, pid)
        await asyncio.to_thread(server.wait)
        with pytest.raises(ConnectionError):
            await Peer.connect(server)
    for answer in answers:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
    assert not list(Path("/dev/shm").glob("*vjepa*"))


async def test_workers_that_are_stopped_end_with_the_engine_process() -> None:
    with serving(DEMO, *TWO) as server:
        workers = _pids(server).values()
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        server.process.kill()
        for pid in workers:
            await asyncio.to_thread(_wait_for_end, pid)


def _shares_clips(pid: int) -> bool:
    """Whether the process has the shared memory; nobody can find it by a name."""
    return "/memfd:vjepa2-clips (deleted)" in Path(f"/proc/{pid}/maps").read_text()


async def test_a_terminal_s_signals_do_not_end_the_workers_before_they_are_told() -> None:
    with faulty(DEMO, *TWO) as server:
        async with clients(server) as session:
            await tell(server, "hold")
            asked = [asyncio.create_task(send(session, BODY)) for _ in range(4)]
            await until_metric(session, "vjepa_admitted_clips", lambda clips: clips == 4)
            # As Ctrl-C, or systemd, which tells every process of the service.
            for pid in (*_pids(server).values(), server.process.pid):
                os.kill(pid, signal.SIGINT)
            await asyncio.to_thread(server.wait_for, "draining")
            await tell(server, "release")
            assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
        assert await asyncio.to_thread(server.wait) == 0
    assert not server.entries("http worker died")
    for pid in _pids(server).values():
        await asyncio.to_thread(_wait_for_end, pid)


def test_what_cannot_be_started_is_tried_ever_more_rarely() -> None:
    backoff = Backoff()
    assert [backoff.died() for _ in range(9)] == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]


@contextlib.asynccontextmanager
async def _held_clips(server: LiveServer, count: int) -> AsyncIterator[None]:
    """``count`` clips, spread over the workers, are in the service while the block runs."""
    peers = [await Peer.connect(server) for _ in range(count)]
    await tell(server, "hold")
    asked = [asyncio.create_task(_ask(peer, BODY)) for peer in peers]
    async with clients(server) as session:
        await until_metric(session, "vjepa_admitted_clips", lambda clips: clips == count)
    yield
    await tell(server, "release")
    assert {answer.status for answer in await asyncio.gather(*asked)} == {200}


async def test_queue_size_is_that_of_all_workers_together() -> None:
    with faulty(DEMO, *TWO, "--queue-size", "3") as server:
        async with _held_clips(server, 3):
            for peer in await _peer_of_each(server):
                refused = await _ask(peer, BODY)
                assert (refused.status, refused.body["detail"]) == (503, "3 clips are in the service already")
                assert int(refused.headers["Retry-After"]) >= 1


async def test_a_rate_is_that_of_all_workers_together() -> None:
    with serving(DEMO, *TWO, "--rate-limit", "5/hour") as server:
        peers = await _peer_of_each(server)
        statuses = [(await _ask(peers[number % 2], BODY)).status for number in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        refused = await _ask(peers[0], BODY)
        assert int(refused.headers["Retry-After"]) >= 1


async def test_connections_are_bounded_for_all_workers_together() -> None:
    with serving(DEMO, *TWO, "--max-connections", "4") as server:
        peers = [await Peer.connect(server) for _ in range(4)]
        for peer in peers:
            assert (await _ask(peer, BODY)).status == 200
        refused = await Peer.connect(server)
        assert (await refused.answer()).status == 503
        peers.pop().close()
        async with asyncio.timeout(60):
            while (await _status_of_new_client(server)) != 200:
                pass


async def _status_of_new_client(server: LiveServer) -> int | None:
    with contextlib.closing(await Peer.connect(server)) as peer:
        with contextlib.suppress(ConnectionError):
            await peer.write(post_head(len(BODY)), BODY)
        return await peer.status_or_end()


def test_what_a_worker_cannot_use_is_one_line(tmp_path: Path) -> None:
    flags = ("--port", "0", "--log-format", "text", *TWO, "--api-key-file", str(tmp_path / "none"))
    refused = run_module("server", str(DEMO), *flags)
    assert refused.returncode == 2
    assert "cannot read the keys" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
