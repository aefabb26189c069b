from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampling.timeline import Timeline

MILLISECOND = Fraction(1, 1000)


def place_all(stamps: list[int | None], start_s: float | None = None, duration: int | None = 100) -> list[float]:
    timeline = Timeline(MILLISECOND, start_s, interval_s=0.04)
    return [timeline.place(pts, duration)[0] for pts in stamps]


def test_times_are_counted_from_the_first_frame() -> None:
    assert place_all([10_000, 10_100, 10_200]) == pytest.approx([0, 0.1, 0.2])


def test_times_are_counted_from_the_start_of_the_container_if_sound_comes_first() -> None:
    assert place_all([10_000, 10_100], start_s=8.0) == pytest.approx([2.0, 2.1])


def test_container_start_after_the_first_frame_is_ignored() -> None:
    assert place_all([1_000, 1_100], start_s=5.0) == pytest.approx([0, 0.1])


def test_frames_without_a_time_stamp_follow_the_one_before() -> None:
    assert place_all([None, None, 5_000, None]) == pytest.approx([0, 0.1, 0.2, 0.3])


def test_frames_without_stamp_or_duration_use_the_interval() -> None:
    assert place_all([None, None, None], duration=None) == pytest.approx([0, 0.04, 0.08])


def test_frames_out_of_order_do_not_shift_the_later_ones() -> None:
    assert place_all([0, 200, 100, 300]) == pytest.approx([0, 0.2, 0.2, 0.3])


def test_appended_recording_continues_the_times() -> None:
    assert place_all([0, 5_000, 5_100, 0, 100]) == pytest.approx([0, 5.0, 5.1, 5.2, 5.3])


@given(st.lists(st.none() | st.integers(-(2**40), 2**40)), st.none() | st.floats(-1e6, 1e6))
def test_times_never_go_back_and_start_at_zero_or_later(stamps: list[int | None], start_s: float | None) -> None:
    times_s = place_all(stamps, start_s)
    assert times_s == sorted(times_s)
    assert all(time_s >= 0 for time_s in times_s)


@given(st.lists(st.integers(0, 999), min_size=1))
def test_time_stamps_that_rise_are_kept_to_the_tick(steps_ms: list[int]) -> None:
    stamps = [sum(steps_ms[: index + 1]) for index in range(len(steps_ms))]
    assert place_all(list(stamps)) == pytest.approx([(stamp - stamps[0]) / 1000 for stamp in stamps])
