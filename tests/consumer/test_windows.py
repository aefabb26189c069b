from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampling.timeline import Timed
from sampling.windows import ROUNDING_S, Sample, Shape, Window, Windows, sample

MAX_GAP_S = 5.0


def windows(
    samples: Iterable[Sample[int]], frames: int, fps: float, stride: int | None = None, fills_up: bool = True
) -> list[Window[int]]:
    return list(Windows[int](Shape(frames, fps, stride or frames), lambda: None, fills_up).of(samples))


def timed(times_s: list[float], last_s: float = 0.04) -> list[Timed[int]]:
    """Frames that carry their index and last until the next one."""
    durations_s = [after - before for before, after in pairwise(times_s)] + [last_s]
    return [Timed(*each, index) for index, each in enumerate(zip(times_s, durations_s, strict=True))]


def steady(fps: float, frames: int, jitter_s: float = 0.0) -> list[Timed[int]]:
    return timed([index / fps + jitter_s * (-1) ** index for index in range(frames)], last_s=1 / fps)


def picked(frames: list[Timed[int]], fps: float = 3) -> list[int]:
    return [each.frame for each in sample(frames, fps, MAX_GAP_S)]


@pytest.mark.parametrize(("source_fps", "expected"), [(30, [0, 10, 20, 30, 40]), (12, [0, 4, 8, 12, 16])])
def test_integer_rate_ratios_give_even_steps(source_fps: int, expected: list[int]) -> None:
    assert picked(steady(source_fps, source_fps * 10))[:5] == expected


def test_25_fps_gives_the_nearest_frames() -> None:
    assert picked(steady(25, 100))[:7] == [0, 8, 17, 25, 33, 42, 50]


def test_time_stamps_rounded_to_milliseconds_do_not_change_the_choice() -> None:
    rounded = timed([round(index / 12, 3) for index in range(120)], last_s=0.083)
    assert picked(rounded) == picked(steady(12, 120))


def test_a_source_slower_than_the_sampling_has_frames_repeated() -> None:
    assert picked(steady(1, 3)) == [0, 0, 1, 1, 1, 2, 2, 2, 2]


def test_single_frame_is_sampled_for_its_duration() -> None:
    assert picked(timed([0.0], last_s=2.0)) == [0] * 6


def test_shortest_frame_gives_one_sample() -> None:
    assert picked(timed([0.0], last_s=ROUNDING_S / 10)) == [0]


def test_sampling_restarts_after_a_gap() -> None:
    frames = [*steady(30, 30), *(Timed(each.time_s + 3600.1, each.duration_s, 100) for each in steady(30, 30))]
    samples = list(sample(frames, 3, MAX_GAP_S))
    assert [each.time_s for each in samples] == pytest.approx([0, 1 / 3, 2 / 3, 3600.1, 3600.1 + 1 / 3, 3600.1 + 2 / 3])
    assert [each.starts for each in samples] == [True, False, False, True, False, False]


def test_no_frames_give_no_samples_and_no_windows() -> None:
    assert picked([]) == []
    assert windows([], 16, 3) == []


@given(
    steps_s=st.lists(st.floats(0, MAX_GAP_S - 0.1), max_size=40),
    start_s=st.floats(0, 1e4),
    fps=st.floats(0.5, 60),
)
def test_every_tick_has_the_nearest_frame(steps_s: list[float], start_s: float, fps: float) -> None:
    times_s = [start_s]
    for step_s in steps_s:
        times_s.append(times_s[-1] + step_s)
    samples = list(sample(timed(times_s), fps, MAX_GAP_S))
    assert [each.time_s for each in samples] == pytest.approx([start_s + tick / fps for tick in range(len(samples))])
    for each in samples:
        nearest_s = min(abs(time_s - each.time_s) for time_s in times_s)
        away_s = abs(times_s[each.frame] - each.time_s)
        # A frame that is this near is taken at once, although a nearer one could follow.
        assert away_s <= ROUNDING_S + 1e-9 or away_s == pytest.approx(nearest_s, abs=1e-9)


@given(seconds=st.floats(0.2, 20), source_fps=st.floats(5, 120), fps=st.floats(0.5, 30))
def test_samples_cover_exactly_the_source(seconds: float, source_fps: float, fps: float) -> None:
    frames = steady(source_fps, max(1, round(seconds * source_fps)))
    end_s = frames[-1].time_s + frames[-1].duration_s
    samples = list(sample(frames, fps, MAX_GAP_S))
    assert samples[-1].time_s < end_s
    assert samples[-1].time_s + 1 / fps >= end_s - 2 * ROUNDING_S


@given(source_fps=st.floats(5, 120), frames=st.integers(1, 200), clip_frames=st.integers(1, 64))
def test_sampled_at_the_rate_that_fits_a_short_video_fills_one_clip(
    source_fps: float, frames: int, clip_frames: int
) -> None:
    video = steady(source_fps, frames)
    fps = clip_frames / (frames / source_fps)
    filled = windows(sample(video, fps, frames / source_fps), clip_frames, fps)
    assert len(filled) == 1
    assert filled[0].start_s == 0
    assert filled[0].end_s <= frames / source_fps + ROUNDING_S


def ticks(count: int, fps: float = 3, starts_at: tuple[int, ...] = (0,)) -> list[Sample[int]]:
    return [Sample(tick / fps, tick, starts=tick in starts_at) for tick in range(count)]


@given(count=st.integers(0, 200), frames=st.integers(1, 32))
def test_windows_are_full_consecutive_and_share_no_frame(count: int, frames: int) -> None:
    found = windows(ticks(count), frames, 3, fills_up=False)
    if count >= frames:
        assert [frame for window in found for frame in window.frames] == list(range(count // frames * frames))
    assert all(len(window.frames) == frames for window in found)
    assert all(before.end_s == pytest.approx(after.start_s) for before, after in pairwise(found))


def test_incomplete_window_is_dropped_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sampling")
    assert len(windows(ticks(20), 16, 3, fills_up=False)) == 1
    (record,) = caplog.records
    assert record.getMessage() == "partial clip dropped"
    assert vars(record)["frames"] == 4


def test_the_only_window_is_filled_by_repeating_its_frames(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sampling")
    (window,) = windows(ticks(6), 16, 3)
    assert window.frames == (0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5)
    assert (window.start_s, window.end_s) == pytest.approx((0, 2))
    assert not caplog.records


@given(
    count=st.integers(1, 120),
    frames=st.integers(1, 20),
    stride=st.integers(1, 40),
    starts_at=st.sets(st.integers(1, 119), max_size=4),
)
def test_recordings_are_covered_to_their_last_sample(count: int, frames: int, stride: int, starts_at: set[int]) -> None:
    samples = ticks(count, starts_at=(0, *starts_at))
    found, live = (windows(samples, frames, 3, stride, fills_up) for fills_up in (True, False))
    assert found[: len(live)] == live
    assert found[-1].frames[-1] == count - 1
    assert found[-1].end_s == pytest.approx(count / 3)
    assert len(found) == len(live) + (not live or live[-1].frames[-1] != count - 1)
    assert len({(window.start_s, window.end_s) for window in found}) == len(found)
    assert all(
        len(window.frames) == frames and not starts_at & (set(window.frames) - {min(window.frames)}) for window in found
    )


def test_a_window_never_spans_a_gap() -> None:
    found = windows(ticks(40, starts_at=(0, 20)), 16, 3, fills_up=False)
    assert [window.frames[0] for window in found] == [0, 20]


@given(count=st.integers(0, 120), frames=st.integers(1, 20), stride=st.integers(1, 40))
def test_windows_begin_a_stride_apart(count: int, frames: int, stride: int) -> None:
    found = windows(ticks(count), frames, 3, stride, fills_up=False)
    starts = range(0, count - frames + 1, stride)
    assert [window.frames for window in found] == [tuple(range(start, start + frames)) for start in starts]


@given(starts_at=st.sets(st.integers(1, 99), max_size=6), frames=st.integers(1, 20), stride=st.integers(1, 30))
def test_overlapping_windows_never_span_a_gap_either(starts_at: set[int], frames: int, stride: int) -> None:
    for window in windows(ticks(100, starts_at=(0, *starts_at)), frames, 3, stride, fills_up=False):
        assert not starts_at & set(window.frames[1:])


def test_on_partial_counts_unused_frames_only() -> None:
    told: list[None] = []
    shape = Shape(frames=4, fps=3, stride=2)
    samples = ticks(13, starts_at=(0, 6, 9))
    assert len(list(Windows[int](shape, lambda: told.append(None), fills_up=False).of(samples))) == 3
    # 0-3 2-5 | 6 7 8 are too few | 9-12, of which 11 and 12 are left and were in it.
    assert len(told) == 1


def test_without_fills_up_frames_are_not_repeated() -> None:
    assert windows(ticks(6), 16, 3, fills_up=False) == []


def test_frame_that_starts_restarts_the_ticks() -> None:
    frames = steady(30, 30)
    frames[15] = replace(frames[15], starts=True)
    samples = list(sample(frames, 3, math.inf))
    assert [each.frame for each in samples] == [0, 10, 15, 25]
    assert [each.starts for each in samples] == [True, False, True, False]
