"""The rule by which windows become segments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.segments import HOLDING, Rules, Segment, segments
from archive.video import WindowScores

LABELS = ("up", "down", HOLDING)
PLAIN = Rules(smoothing_s=0.0)


def window(start_s: float, scores: Sequence[float], length_s: float = 4.0, **others: tuple[float, ...]) -> WindowScores:
    return WindowScores(start_s, start_s + length_s, np.array(scores, np.float32), **others)


def times(found: list[Segment]) -> list[tuple[str, float, float]]:
    return [(each.label, each.start_s, each.end_s) for each in found]


def test_no_windows_have_no_segments() -> None:
    assert segments([], LABELS) == []


def test_windows_side_by_side_speak_for_their_own_time() -> None:
    windows = [window(0, (0.9, 0.1, 0)), window(4, (0.1, 0.8, 0.1)), window(8, (0, 0, 1))]
    assert times(segments(windows, LABELS, PLAIN)) == [("up", 0, 4), ("down", 4, 8)]


def test_overlapping_windows_speak_for_the_time_around_their_centres() -> None:
    windows = [window(start_s, (float(start_s >= 4), 0, float(start_s < 4))) for start_s in range(9)]
    # The last window speaks to the end of the recording.
    assert times(segments(windows, LABELS, PLAIN)) == [("up", 5.5, 12)]


def test_a_segment_lasts_while_its_probability_is_above_leave() -> None:
    scores = [0.1, 0.3, 0.6, 0.3, 0.1, 0.3, 0.1]
    windows = [window(4 * index, (score, 0, 1 - score)) for index, score in enumerate(scores)]
    assert times(segments(windows, LABELS, PLAIN)) == [("up", 4, 16)]


def test_one_window_among_others_is_smoothed_away() -> None:
    windows = [window(start_s, (float(start_s == 4), 0, float(start_s != 4))) for start_s in range(9)]
    assert times(segments(windows, LABELS, PLAIN)) == [("up", 5.5, 6.5)]
    assert segments(windows, LABELS, Rules(smoothing_s=1.0)) == []


def test_short_segments_are_dropped() -> None:
    windows = [window(start_s, (float(start_s == 4), 0, float(start_s != 4))) for start_s in range(9)]
    assert segments(windows, LABELS, Rules(smoothing_s=0, shortest_s=1.1)) == []


def test_a_segment_does_not_span_a_break_of_the_recording() -> None:
    windows = [window(0, (1, 0, 0)), window(60, (1, 0, 0))]
    assert times(segments(windows, LABELS)) == [("up", 0, 4), ("up", 60, 64)]


def test_a_segment_is_only_where_the_picture_moves() -> None:
    changes = (0.0, 9.0, 9.0)
    moving = [window(0, (1, 0, 0), changes=changes), window(4, (1, 0, 0), changes=(9.0, 0.0, 0.0))]
    assert times(segments(moving, LABELS, Rules(smoothing_s=0, pause_s=1.0))) == [("up", 1, 5)]
    still = [window(0, (1, 0, 0), changes=(0.0, 0.4, 0.0))]
    assert segments(still, LABELS) == []


@pytest.mark.parametrize("label", LABELS)
def test_what_is_no_action_is_never_reported(label: str) -> None:
    windows = [window(0, [float(each == label) for each in LABELS])]
    assert segments(windows, LABELS, Rules(no_action=(label,))) == []


@given(
    scores=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30),
    stride_s=st.sampled_from([0.5, 1.0, 4.0, 7.0]),
    changes=st.lists(st.sampled_from([0.0, 1.0, 5.0]), min_size=30, max_size=30),
    smoothing_s=st.sampled_from([0.0, 1.5, 10.0]),
)
def test_segments_are_in_order_within_windows_and_of_one_label_at_a_time(
    scores: list[tuple[float, float, float]], stride_s: float, changes: list[float], smoothing_s: float
) -> None:
    windows = [
        window(index * stride_s, each, changes=(change,))
        for index, (each, change) in enumerate(zip(scores, changes, strict=False))
    ]
    rules = Rules(smoothing_s=smoothing_s)
    found = segments(windows, LABELS, rules)
    assert [each.start_s for each in found] == sorted(each.start_s for each in found)
    for each in found:
        assert each.label != HOLDING
        assert each.end_s - each.start_s >= rules.shortest_s
        assert any(one.start_s <= each.start_s < one.end_s for one in windows)
        assert rules.leave <= each.confidence <= 1 + 1e-6
        same = [other for other in found if other is not each and other.label == each.label]
        assert all(other.end_s <= each.start_s or other.start_s >= each.end_s for other in same)
