from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.retry import MAX_RETRY_AFTER_S, Backoff, WaitBudget, retry_after_s


@pytest.mark.parametrize(
    ("header", "expected_s"),
    [
        (None, None),
        ("0", 0),
        (" 7 ", 7),
        ("99999999999", MAX_RETRY_AFTER_S),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_retry_after_is_parsed(header: str | None, expected_s: float | None) -> None:
    assert retry_after_s(header) == expected_s


@given(
    st.text(max_size=40)
    | st.sampled_from(["nan", "inf", "1e400", "9" * 5000, "-" + "9" * 30])
    | st.integers().map("Wed, 21 Oct {} 07:28:00 GMT".format)
    | st.tuples(st.integers(), st.integers()).map(lambda pair: "Mon, 01 Jan {} 00:00:00 {:+}".format(*pair))
    | st.sampled_from(["Mon, 01 Jan 0001 00:00:00 +2359", "Fri, 31 Dec 9999 23:59:59 -2359"])
)
@example(f"Wed, 21 Oct {10**22} 07:28:00 GMT")
def test_any_retry_after_is_a_bounded_pause_or_none(header: str) -> None:
    pause_s = retry_after_s(header)
    assert pause_s is None or 0 <= pause_s <= MAX_RETRY_AFTER_S


def test_retry_after_may_be_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert retry_after_s(date) == pytest.approx(60, abs=5)


@given(failures=st.integers(1, 10_000), requested_s=st.none() | st.floats(0, MAX_RETRY_AFTER_S))
def test_pauses_grow_to_the_longest_and_are_never_shorter_than_asked(failures: int, requested_s: float | None) -> None:
    backoff = Backoff(first_s=0.5, longest_s=30)
    pause_s = backoff.pause_s(failures, requested_s)
    if requested_s is None:
        doubled_s = min(0.5 * 2 ** min(failures - 1, 20), 30)
        assert doubled_s / 2 <= pause_s <= doubled_s
    else:
        assert requested_s <= pause_s <= 1.25 * requested_s + 0.1


def test_pauses_are_random() -> None:
    assert len({Backoff().pause_s(3) for _ in range(20)}) > 10
    assert len({Backoff().pause_s(3, 2.0) for _ in range(20)}) > 10


def test_wait_budget_limits_pauses() -> None:
    assert WaitBudget(None).left_s(5) == 5
    assert WaitBudget(0).left_s(5) is None
    assert WaitBudget(1).left_s(5) == pytest.approx(1, abs=0.5)
    assert WaitBudget(100).left_s(5) == 5
