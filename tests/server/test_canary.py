"""Reference clips that an engine in service answers again and again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from pathlib import Path

import aiohttp
import pytest

from engines.storage.bundle import DEMO
from tests.faulty_server import marked
from tests.live_server import LiveServer, run_module
from tests.server.demo_bundles import demo_copy
from tests.server.peers import clients, encoded, faulty, metrics, send, small_clips, tell, until_metric

BODY = encoded(small_clips(1)[0])
EVERY_SECOND = ("--canary-s", "1")
RIGHT, WRONG = 'vjepa_canary_checks_total{outcome="right"}', 'vjepa_canary_checks_total{outcome="wrong"}'


async def _until_lost(server: LiveServer) -> str:
    return str((await asyncio.to_thread(server.wait_for, "the engine answers wrongly"))["error"])


@pytest.mark.parametrize("clients_at_once", [0, 4])
async def test_engine_that_becomes_wrong_ends_the_process(clients_at_once: int) -> None:
    statuses: set[int] = set()
    with faulty(DEMO, *EVERY_SECOND) as server:
        async with clients(server) as session, asyncio.TaskGroup() as group:
            for _ in range(clients_at_once):
                group.create_task(_ask_until_the_end(session, statuses))
            await until_metric(session, RIGHT, lambda value: value >= 1)
            await tell(server, "drift device")
            error = await _until_lost(server)
        assert await asyncio.to_thread(server.wait) == 1
    assert "of a reference clip, the log-odds are up to" in error
    assert statuses <= {200, 503}


async def _ask_until_the_end(session: aiohttp.ClientSession, statuses: set[int]) -> None:
    """Send clips one after the other until the service is gone."""
    with contextlib.suppress(aiohttp.ClientError):
        while True:
            statuses.add((await send(session, BODY)).status)


async def test_engine_that_becomes_wrong_is_lost_and_the_other_continues() -> None:
    with faulty(DEMO, *EVERY_SECOND, "--device", "cuda:0,cuda:1") as server:
        async with clients(server) as session:
            expected = (await send(session, BODY)).body["predictions"][0]["label"]
            await tell(server, "drift cuda:1")
            await until_metric(session, "vjepa_engines_lost", lambda value: value == 1)
            answers = [await send(session, BODY) for _ in range(4)]
            counted = await metrics(session)
        assert await asyncio.to_thread(server.stop) == 0
    assert await _until_lost(server)
    assert counted[WRONG] == 1
    assert {answer.body["predictions"][0]["label"] for answer in answers} == {expected}


async def test_checks_under_load_delay_clips_by_one_batch_of_one_clip() -> None:
    with faulty(DEMO, *EVERY_SECOND) as server:
        async with clients(server) as session, asyncio.TaskGroup() as group:
            numbers = iter(range(10_000))
            ended = asyncio.Event()

            async def ask() -> None:
                while not ended.is_set():
                    assert (await send(session, encoded(marked(small_clips(1)[0], next(numbers))))).status == 200

            for _ in range(4):
                group.create_task(ask())
            await until_metric(session, RIGHT, lambda value: value >= 3)
            ended.set()
        assert await asyncio.to_thread(server.stop) == 0
    batches = [(len(entry["numbers"]), entry["clips"]) for entry in server.entries("in engine")]
    served = batches[next(place for place, (clients_, _) in enumerate(batches) if clients_) :]
    checks = [place for place, (clients_, _) in enumerate(served) if not clients_]
    assert len(checks) >= 3
    assert {served[place] for place in checks} == {(0, 1)}
    assert all(later - earlier > 1 for earlier, later in itertools.pairwise(checks))
    assert not server.entries("the engine answers wrongly")


async def test_checks_can_be_turned_off() -> None:
    with faulty(DEMO, "--canary-s", "off") as server:
        async with clients(server) as session:
            await tell(server, "drift device")
            assert (await send(session, BODY)).status == 200
            counted = await metrics(session)
        assert await asyncio.to_thread(server.stop) == 0
    assert (counted[RIGHT], counted[WRONG]) == (0, 0)


def test_bundle_without_reference_clips_is_served_with_a_warning(tmp_path: Path) -> None:
    demo_copy(tmp_path / "bare", "bare")
    with faulty(tmp_path / "bare", *EVERY_SECOND) as server:
        assert server.wait_for(
            "the engine is not checked while it serves, because its bundle carries no reference clips"
        )


@pytest.mark.parametrize("flag", [("--canary-s", "soon"), ("--swap-max-disagreement", "1.5"), ("--swap-clips", "-1")])
def test_wrong_flags_are_refused(flag: tuple[str, str]) -> None:
    ran = run_module("server", str(DEMO), *flag)
    assert ran.returncode == 2
    assert f"ERROR {flag[0]}: " in ran.stderr
