"""Heads on disk and in memory: what is refused, and how they answer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import HeadError
from engines.linear_heads.head import Head, Weights
from engines.linear_heads.manifest import FILE_NAME, UNKNOWN, WEIGHTS_FILE_NAME, HeadManifest
from engines.linear_heads.storage import heads_in, open_head
from tests.heads import constant_head

LABELS = ("opens", "closes", "stays")
SIZE = 1008


def _features(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SIZE).astype(np.float32)


def test_head_answers_as_it_was_written(tmp_path: Path) -> None:
    constant_head(tmp_path / "door", LABELS, 0.9)
    answer = open_head(tmp_path / "door").answer(_features())
    assert answer.labels == (*LABELS, UNKNOWN)
    assert answer.probabilities.dtype == np.float32
    np.testing.assert_allclose(answer.probabilities, [0.9, 0.05, 0.05, 0], atol=1e-6)


def test_unfamiliar_clip_is_answered_with_unknown_first(tmp_path: Path) -> None:
    constant_head(tmp_path / "door", LABELS, 0.9, threshold=0.0)
    answer = open_head(tmp_path / "door").answer(_features())
    assert answer.top_label == UNKNOWN
    assert answer.probabilities[-1] >= 0.5
    assert answer.probabilities.sum() == pytest.approx(1)


@given(seed=st.integers(0, 2**32 - 1), threshold=st.floats(-50, 50), background=st.booleans())
def test_unknown_is_best_if_and_only_if_the_clip_is_below_the_threshold(
    seed: int, threshold: float, background: bool
) -> None:
    rng, actions = np.random.default_rng(seed), 3
    weights = Weights(
        *(
            rng.normal(size=shape).astype(np.float32)
            for shape in ((actions + background, 20), (actions + background,), (4, 20), (4,), (7, 4))
        )
    )
    head = Head(_manifest(threshold), weights)
    features = rng.normal(size=20).astype(np.float32)
    answer, (_, familiarity) = head.answer(features), head.scores(features)
    assert (answer.top_label == UNKNOWN) == (familiarity < threshold)
    assert answer.probabilities.sum() == pytest.approx(1, abs=1e-5)
    nearest = np.linalg.norm(weights.subspace @ features + weights.origin - weights.taught, axis=1).min()
    assert familiarity <= -nearest + 1e-3


def _manifest(threshold: float) -> HeadManifest:
    from tests.heads import FORMAT_VERSION, REPORT, Rejection

    return HeadManifest(
        format_version=FORMAT_VERSION,
        name="door",
        model="demo",
        features="0",
        labels=LABELS,
        temperature=2.0,
        rejection=Rejection(threshold=threshold, distance_centre=0, distance_scale=1),
        fps=3.0,
        taught_at="",
        built_with={},
        report=REPORT,
        weights_sha256="",
    )


def _nan(path: Path) -> None:
    weight = np.zeros((3, SIZE), np.float32)
    weight[1, 2] = np.nan
    constant_head(path, LABELS, 0.9, weight=weight)


def _edited(path: Path, **fields: Any) -> None:
    constant_head(path, LABELS, 0.9)
    content = json.loads((path / FILE_NAME).read_text())
    (path / FILE_NAME).write_text(json.dumps(content | fields))


def _truncated(path: Path) -> None:
    constant_head(path, LABELS, 0.9)
    os.truncate(path / WEIGHTS_FILE_NAME, 500)


def _without_weights(path: Path) -> None:
    constant_head(path, LABELS, 0.9)
    (path / WEIGHTS_FILE_NAME).unlink()


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (_truncated, "truncated or altered"),
    "weights are missing": (_without_weights, "lacks weights.npz"),
    "NaN": (_nan, "NaN or infinite values in weight"),
    "10,000 labels": (
        lambda path: constant_head(path, tuple(map(str, range(10_000))), 0.5),
        "has 10000 labels; accepted: 1 to 4096",
    ),
    "duplicate labels": (lambda path: constant_head(path, ("opens", "opens"), 0.9), "the label 'opens' twice"),
    "label unknown": (lambda path: constant_head(path, ("opens", UNKNOWN), 0.9), "the label 'unknown' of its own"),
    "altered": (lambda path: _edited(path, temperature=9.0), "its digest does not match"),
    "unknown field": (lambda path: _edited(path, extra=1), "unreadable head.json"),
    "no JSON": (lambda path: _without_weights(path) or (path / FILE_NAME).write_text("{"), "unreadable head.json"),
    "later format": (lambda path: constant_head(path, LABELS, 0.9, format_version=2), "format version 2"),
    "other name": (lambda path: constant_head(path, LABELS, 0.9, name="gate"), "is called 'gate'"),
    "labels for other weights": (
        lambda path: constant_head(path, LABELS, 0.9, bias=np.zeros(7, np.float32)),
        "do not fit together",
    ),
    "doubles": (lambda path: constant_head(path, LABELS, 0.9, bias=np.zeros(3)), "bias is float64"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_head_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    make, words = BAD[case]
    make(tmp_path / "door")
    with pytest.raises(HeadError, match=words) as refused:
        open_head(tmp_path / "door")
    assert "\n" not in str(refused.value)
    assert str(tmp_path / "door") in str(refused.value)


def test_directory_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "door").mkdir()
    (tmp_path / "door" / "thesis.txt").write_text("mine")
    with pytest.raises(HeadError, match="exists and is no head"):
        constant_head(tmp_path / "door", LABELS, 0.9)
    assert [path.name for path in tmp_path.iterdir()] == ["door"]


def test_hidden_and_foreign_directories_are_no_heads(tmp_path: Path) -> None:
    constant_head(tmp_path / "door", LABELS, 0.9)
    constant_head(tmp_path / "hidden", LABELS, 0.9)
    (tmp_path / "hidden").rename(tmp_path / ".half.partial")
    (tmp_path / "notes").mkdir()
    assert heads_in(tmp_path) == [tmp_path / "door"]


def test_manifest_says_the_same_after_it_was_read(tmp_path: Path) -> None:
    written = constant_head(tmp_path / "door", LABELS, 0.9)
    assert msgspec.json.decode((tmp_path / "door" / FILE_NAME).read_bytes(), type=HeadManifest) == written
    assert open_head(tmp_path / "door").manifest == written
