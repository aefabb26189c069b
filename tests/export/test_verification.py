"""Verification finds a bundle that answers differently."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.bundle import open_bundle
from engines.errors import ExportError, VerificationError
from engines.runtimes import load_engine
from export.checkpoint import find_checkpoint
from export.staging import staged
from export.verification import compare, reference_clips, reference_probabilities, verify


def test_a_bundle_of_other_weights_fails(odd_bundle: Path, odd_checkpoint: Path) -> None:
    checkpoint = find_checkpoint(str(odd_checkpoint))
    model = checkpoint.load()
    model.classifier.weight.data[0] += 0.05
    clips = reference_clips(12)
    engine = load_engine(open_bundle(odd_bundle))
    with pytest.raises(VerificationError, match="from the checkpoint's"):
        verify(engine, clips, reference_probabilities(model, checkpoint.preprocessing, clips))
    engine.close()


def test_answers_that_are_no_numbers_fail() -> None:
    reference = np.full((3, 4), 0.25, np.float32)
    found = compare(np.full((3, 4), np.nan, np.float32), reference, "fp32")
    assert not found.max_abs_probability_error <= found.tolerance


def test_agreement_counts_clips() -> None:
    reference = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], np.float32)
    answers = np.array([[0.7, 0.2, 0.1], [0.8, 0.1, 0.1]], np.float32)
    found = compare(answers, reference, "fp32")
    assert (found.clips, found.top1_agreement, found.top5_agreement) == (2, 0.5, 1.0)
    assert found.max_abs_probability_error == pytest.approx(0.7)


def test_a_failed_stage_keeps_the_old_bundle(odd_bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    with staged(output) as directory:
        for file in odd_bundle.iterdir():
            (directory / file.name).write_bytes(file.read_bytes())
    kept = open_bundle(output)
    with pytest.raises(ExportError):
        _fail_halfway(output)
    assert open_bundle(output) == kept
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def _fail_halfway(output: Path) -> None:
    with staged(output) as directory:
        (directory / "engine.json").write_text("half")
        raise ExportError("disk full")


def test_a_new_bundle_replaces_the_old_one(odd_bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    for content in ("one", "two"):
        with staged(output) as directory:
            (directory / "engine.json").write_text(content)
    assert (output / "engine.json").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
