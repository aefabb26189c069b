from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampling.live_timeline import Clock, LiveTimeline

MILLISECOND = Fraction(1, 1000)
NOW_S = 1_000_000.0


class Arrivals:
    """A clock that stands where the test puts it."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


def place_all(
    arrivals: list[tuple[float, int | None]], *, max_gap_s: float = 0.5, silence_s: float | None = None
) -> list[tuple[float, bool]]:
    """Times (since the start) and breaks of frames, given as seconds of arrival and milliseconds of time stamp."""
    clock = Arrivals()
    timeline = LiveTimeline(MILLISECOND, 0.1, max_gap_s, silence_s, clock)
    placed = []
    for arrival_s, pts in arrivals:
        clock.now_s = NOW_S + arrival_s
        time_s, _, starts = timeline.place(pts)
        placed.append((time_s - NOW_S, starts))
    return placed


def steady(count: int, first_pts: int = 0, start_s: float = 0.0) -> list[tuple[float, int | None]]:
    return [(start_s + index / 10, first_pts + 100 * index) for index in range(count)]


def test_presentation_times_override_arrival_times() -> None:
    jittered = [(arrival_s + 0.3 * (index % 3), pts) for index, (arrival_s, pts) in enumerate(steady(10, 5_000))]
    times_s, starts = zip(*place_all(jittered), strict=True)
    assert times_s == pytest.approx([index / 10 for index in range(10)])
    assert starts == (True, *[False] * 9)


def test_first_frame_without_time_stamp_uses_the_clock() -> None:
    placed = place_all([(0, None), (0.1, 7_100), (0.2, 7_200), (0.9, 7_300)])
    assert [time_s for time_s, _ in placed] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert [starts for _, starts in placed] == [True, False, False, False]


def test_frames_without_time_stamps_use_the_clock() -> None:
    assert [time_s for time_s, _ in place_all([(0, None), (0.1, None), (0.3, None)])] == pytest.approx([0, 0.1, 0.3])


@pytest.mark.parametrize("jump_ms", [700, 3_600_000, -5_000])
def test_time_stamp_jump_is_a_break_and_reanchors(jump_ms: int) -> None:
    placed = place_all(steady(5, 10_000) + steady(5, 10_500 + jump_ms, start_s=2.0))
    assert [starts for _, starts in placed] == [True, *[False] * 4, True, *[False] * 4]
    assert placed[5][0] == pytest.approx(2.0)
    assert placed[9][0] == pytest.approx(2.4)


def test_silence_is_a_break_only_with_silence_s() -> None:
    arrivals = steady(5) + steady(5, 500, start_s=3.0)
    assert not place_all(arrivals)[5][1]
    assert place_all(arrivals, silence_s=1.0)[5][1]


def test_a_camera_slower_than_the_sampling_has_no_gaps() -> None:
    placed = place_all([(2 * index, 2_000 * index) for index in range(10)], max_gap_s=0.5, silence_s=1.0)
    assert not any(starts for _, starts in placed[3:])


def test_burst_sets_ahead_s() -> None:
    clock = Arrivals()
    timeline = LiveTimeline(MILLISECOND, 0.1, 0.5, None, clock)
    # Twenty frames had waited for two seconds; from then on they come as they are seen.
    for index in range(40):
        clock.now_s = NOW_S + 2 + max(0, index - 19) / 10
        time_s, _, starts = timeline.place(100 * index)
        assert starts == (index == 0)
    assert timeline.ahead_s == pytest.approx(1.9)
    assert time_s - timeline.ahead_s == pytest.approx(clock.now_s)


@given(st.lists(st.tuples(st.floats(0, 10), st.none() | st.integers(-(2**33), 2**33)), max_size=40))
def test_times_never_go_back_and_breaks_are_the_only_gaps(steps: list[tuple[float, int | None]]) -> None:
    arrivals, now_s = [], 0.0
    for step_s, pts in steps:
        now_s += step_s
        arrivals.append((now_s, pts))
    placed = place_all(arrivals, max_gap_s=math.inf)
    for (before_s, _), (after_s, starts) in pairwise(placed):
        assert after_s >= before_s or starts


def test_the_clock_is_unix_time_and_never_steps_back() -> None:
    import time

    clock = Clock()
    first_s = clock()
    assert first_s == pytest.approx(time.time(), abs=5)
    assert clock() >= first_s
