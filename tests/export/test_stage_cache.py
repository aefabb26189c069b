"""Concurrent exports: one per checkpoint at a time, and none removes files that another one needs."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from export.bundling.stage_cache import StageCache

ORIGINS = ("0" * 64, "1" * 64)
_TURNS = 12


@pytest.mark.parametrize("threads", [2, 6])
def test_concurrent_exports_take_turns_and_leave_no_files(tmp_path: Path, threads: int) -> None:
    inside: Counter[str] = Counter()

    def export(number: int) -> None:
        origin = ORIGINS[number % 2]
        cache = StageCache(tmp_path, origin)
        for turn in range(_TURNS):
            with cache.locked():
                inside[origin] += 1
                product = cache.product(f"product-{number}-{turn}", lambda directory: (directory / "file").touch())
                assert inside[origin] == 1
                assert [file.name for file in product.iterdir()] == ["file"]
                cache.clear()
                inside[origin] -= 1

    with ThreadPoolExecutor(threads) as exports:
        list(exports.map(export, range(threads)))
    assert not list(tmp_path.iterdir())
