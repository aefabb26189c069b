"""How the cores and GPUs of a cluster are shared out, and what is said where there is no cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pyarrow")

from archive.cluster import Workers, workers_of


@pytest.mark.parametrize(
    ("cores", "gpus", "wanted_cores", "expected"),
    [
        (1, 0, 4, Workers(1, 1, 0)),
        (2, 0, 4, Workers(1, 1, 0)),
        (4, 0, 4, Workers(1, 3, 0)),
        (32, 0, 4, Workers(7, 4, 0)),
        (33, 0, 4, Workers(8, 4, 0)),
        (16, 1, 4, Workers(1, 4, 1)),
        (64, 8, 4, Workers(8, 4, 1)),
        (8, 8, 4, Workers(8, 1, 1)),
    ],
)
def test_workers_for_known_clusters(cores: int, gpus: int, wanted_cores: int, expected: Workers) -> None:
    assert workers_of(cores, gpus, wanted_cores) == expected


@given(cores=st.integers(2, 1000), gpus=st.integers(0, 16), wanted_cores=st.integers(1, 64))
def test_workers_never_take_all_cores(cores: int, gpus: int, wanted_cores: int) -> None:
    workers = workers_of(cores, gpus, wanted_cores)
    assert workers.count >= 1
    assert workers.cores >= 1
    if cores > gpus:
        assert workers.count * workers.cores < cores
