from __future__ import annotations

import pytest

from tests.latency.cameras.capacity import Effort, search


@pytest.mark.parametrize(
    ("truth", "ratio", "least"),
    [(0, 1.1, 0), (1, 1.1, 1), (3, 1.1, 3), (4, 1, 4), (100, 1.1, 91), (64, 1, 64), (200, 1.1, 64)],
)
def test_most_cameras_are_found(truth: int, ratio: float, least: int) -> None:
    asked: list[int] = []

    def holds(cameras: int) -> bool:
        asked.append(cameras)
        return cameras <= truth

    most = 64 if truth in (64, 200) else 1024
    found = search(holds, Effort(fps=3, seconds=1, first=4, most=most, ratio=ratio))
    assert least <= found <= truth
    assert found == 0 or found in asked
    assert max(asked) <= most
    assert len(asked) == len(set(asked))
