"""What a head is judged by, on features that are made up: the served head computes the same, and doubts are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("sklearn")

from threadpoolctl import threadpool_limits

from engines.linear_heads.head import Head
from engines.linear_heads.storage import open_head
from teaching.doubts import doubts
from teaching.holdout import HeldOut, hold_out
from teaching.judgement import Judgement
from teaching.lesson import Lesson
from teaching.model import Classifier, Nearness, weights
from teaching.spectrum import spectrum_of
from tests.heads import constant_head, demo_manifest

LABELS = ("one", "two", "three")
SPECTRUM = spectrum_of(demo_manifest())


def lesson(videos: int, rng: np.random.Generator) -> Lesson:
    """So many videos of each of three actions and of a background."""
    size = len(SPECTRUM.factors)
    centres = rng.normal(0.0, 0.4, (len(LABELS) + 1, size))
    classes = np.repeat(np.arange(len(LABELS) + 1), videos)
    features = centres[classes] + rng.normal(0.0, 1.0, (len(classes), size))
    return Lesson(LABELS, features, classes, np.arange(len(classes)))


@pytest.fixture(scope="module")
def held_out() -> Iterator[HeldOut]:
    """What heads said of the clips of a lesson that they were not taught."""
    with threadpool_limits(1):
        yield hold_out(lesson(12, np.random.default_rng(1)), SPECTRUM)


def test_the_served_head_computes_what_was_judged(held_out: HeldOut, tmp_path: Path) -> None:
    taught = held_out.lesson
    rule = Judgement.of(held_out, 0.01).rule
    made = weights(taught, SPECTRUM, held_out.strength, held_out.directions)
    manifest = constant_head(tmp_path / "made", LABELS, 0.9)
    head = Head(msgspec.structs.replace(manifest, rejection=rule), made)
    features = lesson(3, np.random.default_rng(2)).features
    classifier = Classifier.of(taught, SPECTRUM)
    fitted = classifier.linear(held_out.strength)
    logits = classifier.coordinates.of(features) @ fitted.weight.T + fitted.bias
    distances = Nearness.of(taught, SPECTRUM, held_out.directions).distances(features)
    margins = np.logaddexp.reduce(logits[:, :3], axis=1) - logits[:, 3]
    familiar = np.minimum(
        (-distances - rule.distance_centre) / rule.distance_scale, (margins - rule.margin_centre) / rule.margin_scale
    )
    for row, expected in enumerate(familiar):
        served, familiarity = head.scores(features[row].astype(np.float32))
        assert served == pytest.approx(logits[row], abs=1e-3)
        assert familiarity == pytest.approx(expected, abs=1e-2)
    assert open_head(tmp_path / "made").feature_count == head.feature_count


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25])
def test_no_more_of_the_held_out_background_passes_than_was_asked_for(rate: float, held_out: HeldOut) -> None:
    report = Judgement.of(held_out, rate).report()
    assert report.false_alarms is not None
    assert report.false_alarms <= rate
    assert report.background_windows == 12
    assert report.false_alarms_low is not None
    assert report.false_alarms_low <= report.false_alarms <= (report.false_alarms_high or 0)


def test_folds_that_disagree_are_told(held_out: HeldOut) -> None:
    """The clips of one fold were answered wrongly, those of the others rightly."""
    judgement = Judgement.of(held_out, 0.1)
    assert not any("the folds disagree" in doubt for doubt in doubts(judgement, 0.1, ()))
    wrong = judgement.held_out.folds == 0
    answers = np.where(wrong, (judgement.lesson.classes + 1) % 3, judgement.lesson.classes)
    odd = Judgement(judgement.held_out, judgement.rule, judgement.temperature, judgement.logits, answers)
    assert any("the folds disagree, with 0% to 100% right" in doubt for doubt in doubts(odd, 0.1, ()))
