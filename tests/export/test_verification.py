"""Wrong answers of a bundle are detected by the export, by ``verify``, and on the first load."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from engines import manifest as manifests
from engines.clip import Clip
from engines.engine import Engine, Inference
from engines.errors import ExportError, VerificationError
from engines.manifest import Manifest, Verification
from engines.runtimes.registry import load_engine, open_engine
from engines.storage.bundle import open_bundle, replace_manifest
from engines.storage.log_odds import Scale
from engines.storage.reference import FILE_NAME, Floats, Reference
from engines.storage.verification import compare, reference_of, verify
from export.architectures.registry import find_checkpoint
from export.bundling.staging import staged, write_manifest
from export.network.references import ask_checkpoint
from tests.in_process import run_here
from tests.live_server import run_module


@pytest.fixture
def unverified(odd_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that has not been verified yet, as on a machine where it has never run."""
    path = Path(shutil.copytree(odd_bundle, tmp_path / "unverified"))
    replace_manifest(open_bundle(path), verification=None)
    return path


@pytest.fixture
def wrong(unverified: Path) -> Path:
    """A bundle with reference answers that differ from those of its engine."""
    reference = Reference.read(unverified / FILE_NAME)
    probabilities = np.roll(reference.probabilities, 1, axis=1)
    Reference(reference.clips, probabilities, reference.labels).write(unverified / FILE_NAME)
    write_manifest(unverified, _manifest(unverified))
    return unverified


def _manifest(path: Path) -> Manifest:
    """Read the manifest without checking the files, for bundles that a test damages."""
    return manifests.decode((path / manifests.FILE_NAME).read_bytes())


def test_export_loads_no_code_that_others_may_write_unless_told(
    odd_checkpoint: Path, odd_torch_bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(odd_torch_bundle, tmp_path / "bundle")
    tmp_path.chmod(0o777)
    output = str(tmp_path / "another")
    for command in ((str(odd_checkpoint), "--target", "torch", "--output", output), ("verify", tmp_path / "bundle")):
        refused = run_here("export", *map(str, command))
        assert refused.returncode == 2
        assert "may be written by others" in refused.stderr
    assert not (tmp_path / "another").exists()
    verified = run_here("export", "verify", str(tmp_path / "bundle"), "--trust-writable-bundles")
    assert verified.returncode == 0, verified.stderr


def test_bundle_with_other_weights_fails_verification(odd_bundle: Path, odd_checkpoint: Path) -> None:
    checkpoint = find_checkpoint(str(odd_checkpoint))
    model = checkpoint.load()
    model.classifier.weight.data[0] += 0.05
    engine = open_engine(open_bundle(odd_bundle))
    with pytest.raises(VerificationError, match="from the checkpoint's"):
        verify(engine, ask_checkpoint(checkpoint, model))
    engine.close()


class _WrongInBatches:
    """An engine that does not write the answers of a batch after the second."""

    def __init__(self, engine: Engine, unwritten: float) -> None:
        self._engine, self._unwritten = engine, unwritten

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        answered = self._engine.infer(clips)
        answered.probabilities[2:] = self._unwritten
        return answered


@pytest.mark.parametrize(("unwritten", "words"), [(0.0, "from the checkpoint's"), (np.nan, "are not numbers")])
def test_answers_that_are_wrong_only_in_batches_fail_verification(
    odd_bundle: Path, unwritten: float, words: str
) -> None:
    bundle = open_bundle(odd_bundle)
    reference = reference_of(bundle)
    assert reference is not None
    engine = open_engine(bundle)
    found = verify(engine, reference)
    assert (found.clips, found.top1_agreement) == (6 + 2 + 4, 1.0)
    with pytest.raises(VerificationError, match=f"in batches of 4, .* {words}"):
        verify(cast(Engine, _WrongInBatches(engine, unwritten)), reference)
    engine.close()


def test_bundle_contains_the_answers_of_the_checkpoint(odd_bundle: Path, odd_checkpoint: Path) -> None:
    checkpoint = find_checkpoint(str(odd_checkpoint))
    carried = reference_of(open_bundle(odd_bundle))
    assert carried is not None
    asked = ask_checkpoint(checkpoint, checkpoint.load())
    np.testing.assert_allclose(carried.probabilities, asked.probabilities, atol=1e-6)
    for mine, theirs in zip(carried.clips, asked.clips, strict=True):
        assert mine.pixel_format == theirs.pixel_format
        np.testing.assert_array_equal(mine.frames, theirs.frames)


def test_reference_clips_differ_in_size_channel_order_and_answer(odd_bundle: Path) -> None:
    carried = reference_of(open_bundle(odd_bundle))
    assert carried is not None
    assert len({clip.frames.shape for clip in carried.clips}) == 5
    assert carried.labels == open_bundle(odd_bundle).manifest.labels
    assert {clip.pixel_format for clip in carried.clips} == {"RGB", "BGR"}
    assert np.ptp(carried.probabilities, axis=0).max() > 0.5
    assert (odd_bundle / FILE_NAME).stat().st_size < 3e6


def test_first_load_verifies_and_records_the_result(unverified: Path) -> None:
    load_engine(open_bundle(unverified)).close()
    found = open_bundle(unverified).manifest.verification
    assert found is not None
    assert found.max_abs_probability_error <= found.tolerance
    assert found.device


def test_bundle_of_format_2_is_verified_without_labels(unverified: Path) -> None:
    reference = Reference.read(unverified / FILE_NAME)
    arrays = {f"frames_{index}": clip.frames for index, clip in enumerate(reference.clips)}
    formats = np.array([clip.pixel_format for clip in reference.clips])
    np.savez_compressed(unverified / FILE_NAME, probabilities=reference.probabilities, pixel_formats=formats, **arrays)
    write_manifest(unverified, msgspec.structs.replace(_manifest(unverified), format_version=2))
    load_engine(open_bundle(unverified)).close()
    verified = open_bundle(unverified).manifest
    assert verified.verification is not None
    assert verified.verification.log_odds_error is not None
    assert verified.format_version == manifests.FORMAT_VERSION


def test_bundle_without_reference_answers_loads_unverified(unverified: Path) -> None:
    (unverified / FILE_NAME).unlink()
    write_manifest(unverified, _manifest(unverified))
    load_engine(open_bundle(unverified)).close()
    assert open_bundle(unverified).manifest.verification is None


def test_server_refuses_bundle_with_wrong_answers(wrong: Path) -> None:
    with pytest.raises(VerificationError, match="from the checkpoint's"):
        load_engine(open_bundle(wrong))
    served = run_module("server", str(wrong), "--port", "0", "--log-format", "text")
    assert served.returncode == 2
    assert "from the checkpoint's" in served.stderr
    assert "Traceback" not in served.stderr


def test_verify_command_accepts_right_and_refuses_wrong_answers(odd_bundle: Path, wrong: Path) -> None:
    right = run_here("export", "verify", str(odd_bundle))
    assert right.returncode == 0, right.stderr
    assert "probabilities within" in right.stdout
    refused = run_here("export", "verify", str(wrong))
    assert refused.returncode == 1
    assert "from the checkpoint's" in refused.stderr
    assert "Traceback" not in refused.stderr


def _compared(answers: Floats, reference: Floats) -> Verification:
    return compare(answers, reference, Scale.of(reference, "fp32"), "fp32", "CPU")


def test_nan_answers_exceed_the_tolerance() -> None:
    reference = np.full((3, 4), 0.25, np.float32)
    found = _compared(np.full((3, 4), np.nan, np.float32), reference)
    assert not found.max_abs_probability_error <= found.tolerance


def test_agreement_is_the_share_of_clips() -> None:
    reference = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]], np.float32)
    answers = np.array([[0.7, 0.2, 0.1], [0.8, 0.1, 0.1]], np.float32)
    found = _compared(answers, reference)
    assert (found.clips, found.top1_agreement, found.top5_agreement) == (2, 0.5, 1.0)
    assert found.max_abs_probability_error == pytest.approx(0.7)


def test_failed_export_keeps_the_old_bundle(odd_bundle: Path, tmp_path: Path) -> None:
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


def test_new_bundle_replaces_the_old_one(tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    for content in ("one", "two"):
        with staged(output) as directory:
            (directory / "engine.json").write_text(content)
    assert (output / "engine.json").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
