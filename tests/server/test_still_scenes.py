"""Still scenes on streams: what is passed over, what is checked all the same, and what is told about it."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from engines.storage.bundle import DEMO
from server.streams.movement import cells_of, movement
from server.telemetry.share_interval import share_interval
from tests.latency.still import Watched, watch
from tests.live_server import serving
from tests.rendered_day import Day
from tests.server.peers import clients, metrics, until_metric
from tests.server.streams import packed, streaming


async def test_still_windows_are_passed_over_and_every_action_is_seen() -> None:
    with serving(DEMO) as server:
        async with clients(server) as session:
            day = await watch(session, Day(7, actions=5, rest=96), stride=8, still_check=0.25)
            counted = await metrics(session)
    assert not day.missed_actions
    assert day.saved > 0.4
    _check_estimate(day)
    told = day.summary["still"]
    assert counted['vjepa_stream_windows_total{outcome="still"}'] == day.summary["skipped"]["still"]
    assert counted['vjepa_stream_still_checks_total{outcome="missed"}'] == told["missed"]
    assert counted['vjepa_stream_still_missed_ratio{bound="high"}'] == pytest.approx(told["high"], abs=1e-6)
    assert counted['vjepa_stream_frames_total{outcome="used"}'] == 2 * day.summary["frames_used"]


def _check_estimate(day: Watched) -> None:
    told = day.summary["still"]
    checked = [answer for answer in day.gated.values() if answer["type"] == "prediction" and answer["still"]]
    assert (told["windows"], told["checked"]) == (len(day.still), len(checked))
    assert told["windows"] == told["checked"] + day.summary["skipped"]["still"]
    assert 0 < told["checked"] < told["windows"]
    assert told["low"] <= told["missed_share"] <= told["high"]


async def test_open_streams_and_the_log_tell_the_sums() -> None:
    frame = np.full((64, 64, 3), 90, np.uint8)
    with serving(DEMO) as server:
        async with clients(server) as session:
            gate = {"still": "skip", "still_check": 0}
            async with streaming(session, name="yard", policy="wait", stride=16, **gate) as client:
                await client.send([packed(index / 3, frame) for index in range(64)])
                assert [(await client.next("skipped"))["reason"] for _ in range(4)] == ["still"] * 4
                async with session.get("/api/v1/streams") as answer:
                    (listed,) = (await answer.json())["streams"]
                await client.send([packed(1000 + index / 3, frame) for index in range(5)])
                await client.send([packed(2000.0, frame)])
                ended = (await client.ended())[-1]
            await until_metric(session, 'vjepa_streams_ended_total{reason="ended"}', lambda count: count == 1)
        assert await asyncio.to_thread(server.stop) == 0
    assert listed["fps_in"] > 0
    still = {"windows": 4, "checked": 0, "missed": 0, "missed_share": None, "low": 0.0, "high": 1.0}
    assert listed["still"] == ended["still"] == still
    lines = [entry for entry in server.entries("request") if entry["path"] == "/api/v1/stream"]
    assert [(line["stream"], line["frames"], line["windows"], line["gaps"]) for line in lines] == [("yard", 70, 4, 2)]
    assert lines[0]["skipped"] == {"still": 4}
    (partial,) = server.entries("partial clip dropped")
    assert (partial["stream"], partial["frames"], partial["start_s"]) == ("yard", 5, 1000.0)


async def test_window_that_is_not_still_is_answered_whatever_the_share_of_checks() -> None:
    frames = [
        np.roll(np.eye(64, dtype=np.uint8)[..., None] * np.full(3, 250, np.uint8), index, 1) for index in range(16)
    ]
    with serving(DEMO) as server:
        async with clients(server) as session, streaming(session, policy="wait", still="skip", still_check=0) as client:
            await client.send([packed(index / 3, frame) for index, frame in enumerate(frames)])
            answers = await client.ended()
    assert [(answer["type"], answer.get("still")) for answer in answers[:1]] == [("prediction", False)]


@pytest.mark.parametrize("crop", [12, 64, 100, 256])
def test_noise_and_light_do_not_move_and_a_small_object_does(crop: int) -> None:
    rng = np.random.default_rng(crop)
    scene = rng.integers(30, 200, (4, 4, 3)).repeat(crop // 4, 0).repeat(crop // 4, 1).astype(float)
    slopes = np.linspace(-0.1, 0.1, 16)[:, None, None, None] * np.linspace(-1, 1, scene.shape[1])[None, None, :, None]
    gains = (1 + 0.15 * np.sin(np.arange(16)))[:, None, None, None] + slopes
    noisy = scene * gains + rng.normal(0, 5, (16, *scene.shape))
    moved = noisy.copy()
    side = max(2, crop // 5)
    for index in range(16):
        left = index * (crop - side) // 16
        moved[index, side : 2 * side, left : left + side] += 50
    still, moving = (
        movement(np.stack([cells_of(frame) for frame in np.clip(frames, 0, 255).astype(np.uint8)]))
        for frames in (noisy, moved)
    )
    assert still < moving / 1.5
    if crop >= 64:
        assert still < 4.5 < moving


def test_interval_holds_the_true_share_in_95_of_100_samples() -> None:
    for count in (20, 53, 200):
        intervals = [share_interval(hits, count) for hits in range(count + 1)]
        for share in (0.0, 0.0005, 0.002, 0.01, 0.05, 0.2, 0.5, 0.9):
            held = sum(
                math.comb(count, hits) * share**hits * (1 - share) ** (count - hits)
                for hits, (low, high) in enumerate(intervals)
                if low <= share <= high
            )
            assert held > 0.94, (count, share)
    assert share_interval(0, 0) == (0.0, 1.0)
