"""HTTP in several processes: what becomes of the service when one of them is killed, stopped or told to end."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from engines.bundle import DEMO
from export.demo.labels import LABELS
from server.http_workers.backoff import Backoff
from tests.faulty_server import marked
from tests.live_server import LiveServer, serving
from tests.server.http_workers import SERVES, TWO, ask, peer_of_each, pids, wait_for_end
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

FRAMES = small_clips(4)
BODY = encoded(FRAMES[0])
ALL = len(LABELS)


async def test_a_killed_worker_loses_only_its_own_requests_and_is_replaced() -> None:
    with faulty(DEMO, *TWO) as server:
        peers = await peer_of_each(server)
        async with clients(server) as session:
            await tell(server, "hold")
            asked = [
                asyncio.create_task(ask(peer, encoded(marked(FRAMES[0], number)))) for number, peer in enumerate(peers)
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
        for peer in await peer_of_each(server):
            assert (await ask(peer, BODY)).status == 200
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
    pid = pids(server)[worker]
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
            os.kill(pids(server)[death % 2 + 1], signal.SIGKILL)
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
                    answer = await ask(peer, body)
                    statuses[answer.status] += 1
                    expected = expected or confidences(answer)
                    assert confidences(answer) == pytest.approx(expected, abs=1e-4)
            except (asyncio.IncompleteReadError, ConnectionError):
                statuses["lost"] += 1


async def test_a_worker_that_hangs_is_replaced() -> None:
    with faulty(DEMO, *TWO, "--http-worker-timeout-s", "3") as server:
        peers, stopped = await peer_of_each(server), pids(server)[1]
        os.kill(stopped, signal.SIGSTOP)
        asked = [asyncio.create_task(ask(peer, BODY)) for peer in peers]
        (answered,), (waits,) = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        assert (await answered).status == 200
        told = await asyncio.to_thread(server.wait_for, "http worker hangs")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await waits
        died = await asyncio.to_thread(server.wait_for, "http worker died")
        assert (told["worker"], told["pid"], died["pid"], died["exit_code"]) == (1, stopped, stopped, -9)
        await asyncio.to_thread(server.wait_for, SERVES, 3)
        for peer in await peer_of_each(server):
            assert (await ask(peer, BODY)).status == 200
        assert [entry["worker"] for entry in server.entries("http worker hangs")] == [1]
        assert await asyncio.to_thread(server.stop) == 0


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
        waiting, (slow, *_) = await peer_of_each(server), await peer_of_each(server)
        async with clients(server) as session:
            await tell(server, "hold")
            asked = [asyncio.create_task(ask(peer, BODY)) for peer in waiting]
            await slow.write(post_head(len(BODY)), BODY[:-1])
            await until_metric(session, "vjepa_admitted_clips", lambda clips: clips == 2)
        workers = pids(server)
        for pid in (server.process.pid, *workers.values()):
            assert _shares_clips(pid)
        server.process.kill()
        answers = await asyncio.gather(*asked)
        await slow.write(BODY[-1:])
        answers.append(await slow.answer())
        for pid in workers.values():
            await asyncio.to_thread(wait_for_end, pid)
        await asyncio.to_thread(server.wait)
        with pytest.raises(ConnectionError):
            await Peer.connect(server)
    for answer in answers:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
    assert not list(Path("/dev/shm").glob("*vjepa*"))


async def test_workers_that_are_stopped_end_with_the_engine_process() -> None:
    with serving(DEMO, *TWO) as server:
        workers = pids(server).values()
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        server.process.kill()
        for pid in workers:
            await asyncio.to_thread(wait_for_end, pid)


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
            for pid in (*pids(server).values(), server.process.pid):
                os.kill(pid, signal.SIGINT)
            await asyncio.to_thread(server.wait_for, "draining")
            await tell(server, "release")
            assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
        assert await asyncio.to_thread(server.wait) == 0
    assert not server.entries("http worker died")
    for pid in pids(server).values():
        await asyncio.to_thread(wait_for_end, pid)


def test_what_cannot_be_started_is_tried_ever_more_rarely() -> None:
    backoff = Backoff()
    assert [backoff.died() for _ in range(9)] == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
