"""Verifies a bundle: compares its answers to the reference clips with the answers of its checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from engines.engine import Engine, Inference
from engines.errors import VerificationError
from engines.manifest import FeaturePart, Manifest, Precision, Verification
from engines.storage.bundle import Bundle, read_file, replace_manifest
from engines.storage.feature_errors import TOLERANCES as FEATURE_TOLERANCES
from engines.storage.feature_errors import feature_errors
from engines.storage.log_odds import Scale, errors, rank_errors
from engines.storage.reference import FILE_NAME, Floats, Reference

# The largest accepted difference between a probability and the checkpoint's probability in FP32. For int8, the plain
# colours among the reference clips are far from the clips that it was calibrated with.
TOLERANCES: dict[Precision, float] = {"fp32": 2e-3, "bf16": 2e-2, "fp16": 5e-3, "fp8": 1e-1, "int8": 2e-1}
_CURES: dict[Precision, str] = {
    "fp32": "export for another --target",
    "fp16": "export with --precision fp32, or with bf16 if values overflow",
    "bf16": "export with --precision fp32",
    "fp8": "calibrate with videos of your own (--calibration), or export with --precision fp16 or fp32",
    "int8": "calibrate with videos of your own (--calibration), or export with --precision bf16 or fp32",
}


Places = npt.NDArray[np.int64]


def reference_of(bundle: Bundle) -> Reference | None:
    """The clips and answers that ``bundle`` carries; None when it was exported without them (``--no-verify``)."""
    return reference_in(bundle.content, bundle.manifest)


def reference_in(directory: Path, manifest: Manifest) -> Reference | None:
    """The reference of the bundle that ``manifest`` describes, read from its ``directory``; None as above.

    Raises:
        BundleDamagedError: the file is another one, for example because the bundle was replaced meanwhile.
    """
    for file in manifest.files:
        if file.name == FILE_NAME:
            return Reference.decode(read_file(directory, file))
    return None


def carries_reference(manifest: Manifest) -> bool:
    """Whether the bundle can be verified without its checkpoint."""
    return any(file.name == FILE_NAME for file in manifest.files)


def verify(engine: Engine, reference: Reference) -> Verification:
    """Compare the engine's answers with the checkpoint's: first clip by clip, then in batches up to the largest.

    Raises:
        VerificationError: the bundle's labels are not the checkpoint's, or an answer is further from the checkpoint's
            than the precision explains.
        EngineError: the runtime failed on a batch.
    """
    _check_labels(engine.manifest.labels, reference)
    clips, batches = reference.clips, list(_batches(len(reference.clips), engine.manifest.max_batch))
    answers = [engine.infer([clips[index] for index in batch]) for batch in batches]
    places = np.concatenate(batches)
    found = Verification(
        device=engine.device_name,
        clips=len(places),
        precision=engine.precision,
        max_abs_probability_error=None,
        tolerance=None,
        top1_agreement=None,
        top5_agreement=None,
    )
    sizes = np.repeat([len(batch) for batch in batches], [len(batch) for batch in batches])
    if engine.manifest.labels:
        found = _verified_probabilities(engine, reference, answers, places, sizes)
    features = [answer.features for answer in answers if answer.features is not None]
    if engine.manifest.features and reference.features is not None:
        found = _verified_features(engine, found, np.concatenate(features), reference.features[places], sizes)
    return found


def _verified_probabilities(
    engine: Engine, reference: Reference, answers: list[Inference], places: Places, sizes: Places
) -> Verification:
    """``places`` are the clips that were answered, ``sizes`` those of their batches."""
    given, expected = np.concatenate([answer.probabilities for answer in answers]), reference.probabilities[places]
    scale = Scale.of(reference.probabilities, engine.precision)
    found = compare(given, expected, scale, engine.precision, engine.device_name)
    wrong = ~_right(given, expected, scale, TOLERANCES[engine.precision])
    if wrong.any():
        raise VerificationError(
            f"on {found.device}, {_where(sizes[wrong])}, the engine's {_described(given, expected, found)}",
            help=_cure(engine.precision, scale),
        )
    return found


def _verified_features(
    engine: Engine, found: Verification, answers: Floats, expected: Floats, sizes: Places
) -> Verification:
    tolerance = FEATURE_TOLERANCES[engine.precision]
    parts = engine.manifest.features.parts if engine.manifest.features else ()
    off = feature_errors(answers, expected, parts)
    wrong = ~(off <= tolerance)
    if wrong.any():
        raise VerificationError(
            f"on {found.device}, {_where(sizes[wrong])}, the engine's features are up to {off.max():.1e} of their norm"
            f" from the checkpoint's (accepted in {found.precision}: {tolerance:.1e})",
            help=_CURES[engine.precision],
        )
    return msgspec.structs.replace(found, features_error=float(off.max()), features_tolerance=tolerance)


def _where(sizes: Places) -> str:
    batch = sizes.min()
    return f"in batches of {batch}" if batch > 1 else "clip by clip"


def wrong_answer(
    engine: Engine, reference: Reference, clip: int, probabilities: Floats, features: Floats | None = None
) -> str | None:
    """What is wrong with the answer of ``engine`` to that clip of ``reference``; None if nothing.

    ``probabilities``: float32 [labels]; ``features``: float32 [F], compared where the network has no labels.
    """
    manifest, precision = engine.manifest, engine.precision
    if not manifest.labels:
        if not manifest.features or features is None or reference.features is None:
            return None
        off = float(feature_errors(features[None], reference.features[clip : clip + 1], manifest.features.parts)[0])
        return None if off <= FEATURE_TOLERANCES[precision] else f"features are {off:.1e} of their norm off"
    scale = Scale.of(reference.probabilities, precision)
    answer, expected = probabilities[None], reference.probabilities[clip : clip + 1]
    found = compare(answer, expected, scale, precision, engine.device_name)
    right = _right(answer, expected, scale, TOLERANCES[precision]).all()
    return None if right else _described(answer, expected, found)


def check_network(answers: Floats, features: Floats, reference: Reference, parts: Sequence[FeaturePart]) -> None:
    """Compare the answers of the network in FP32, before it is compiled, with the checkpoint's.

    ``answers``: [clips, labels]; ``features``: [clips, F]. Lower precisions hide small faults of the weights, which
    FP32 shows. Raises VerificationError.
    """
    what = None
    if reference.labels:
        scale = Scale.of(reference.probabilities, "fp32")
        found = compare(answers, reference.probabilities, scale, "fp32", "CPU")
        if not _right(answers, reference.probabilities, scale, TOLERANCES["fp32"]).all():
            what = _described(answers, reference.probabilities, found)
    if what is None and reference.features is not None:
        off = float(feature_errors(features, reference.features, parts).max())
        what = None if off <= FEATURE_TOLERANCES["fp32"] else f"features are {off:.1e} of their norm off"
    if what is not None:
        raise VerificationError(
            f"before it is compiled, the network's {what}",
            help="this is a fault of the export: please report it with the checkpoint's config.json",
        )


def _batches(clips: int, max_batch: int) -> Iterator[list[int]]:
    """The clip indices of each batch; several batch sizes are tested because each size may use other kernels."""
    yield from ([clip] for clip in range(clips))
    sizes = {2**power for power in range(1, max_batch.bit_length())} | {max_batch}
    yield from ([place % clips for place in range(size)] for size in sorted(sizes - {1}))


def _check_labels(labels: tuple[str, ...], reference: Reference) -> None:
    """Bundles of format 2 contain no labels in their reference, only the number of the checkpoint's probabilities."""
    expected = reference.labels or labels
    outputs = reference.probabilities.shape[1]
    if len(labels) != outputs:
        fault = f"the bundle names {len(labels)} labels, and the checkpoint has {outputs}"
    elif labels != expected:
        index = next(index for index in range(outputs) if labels[index] != expected[index])
        fault = f"output {index} is {labels[index]!r} in the bundle and {expected[index]!r} in the checkpoint"
    else:
        return
    raise VerificationError(f"the labels differ from the checkpoint's: {fault}", help="export the model again")


def _right(answers: Floats, expected: Floats, scale: Scale, tolerance: float) -> npt.NDArray[np.bool_]:
    """Whether each answer is right, [clips]; an answer with NaN is not."""
    right: npt.NDArray[np.bool_] = np.abs(answers - expected).max(axis=1) <= tolerance
    right &= errors(answers, expected) <= scale.tolerance
    return right & (rank_errors(answers, expected) <= scale.rank_tolerance)


def _described(answers: Floats, expected: Floats, found: Verification) -> str:
    """What is wrong, as the end of a sentence."""
    if not np.isfinite(answers).all():
        return "probabilities are not numbers, so nothing of them is the checkpoint's"
    return (
        f"log-odds are up to {found.log_odds_error:.1e} of their spread between clips from the checkpoint's"
        f" (accepted in {found.precision}: {found.log_odds_tolerance:.1e}), its probabilities up to"
        f" {found.max_abs_probability_error:.1e} (accepted: {found.tolerance:.0e}), and the same label is best in"
        f" {found.top1_agreement:.0%} of the answers"
    )


def _cure(precision: Precision, scale: Scale) -> str:
    """A remedy; where half the spread is all that is accepted, the checkpoint's answers differ too little."""
    if precision != "fp32" and scale.tolerance >= scale.spread / 2:
        return f"{precision} is too coarse for answers that differ so little between clips; use --precision fp32"
    return _CURES[precision]


def compare(answers: Floats, expected: Floats, scale: Scale, precision: Precision, device: str) -> Verification:
    """The largest errors, and the shares of answers with the same best label and the same set of five best."""
    ranks, expected_ranks = np.argsort(-answers), np.argsort(-expected)
    same_five = [set(a) == set(b) for a, b in zip(ranks[:, :5], expected_ranks[:, :5], strict=True)]
    return Verification(
        device=device,
        clips=len(answers),
        precision=precision,
        max_abs_probability_error=float(np.abs(answers - expected).max()),
        tolerance=TOLERANCES[precision],
        top1_agreement=float((ranks[:, 0] == expected_ranks[:, 0]).mean()),
        top5_agreement=float(np.mean(same_five)),
        log_odds_spread=scale.spread,
        log_odds_error=scale.share(float(errors(answers, expected).max())),
        log_odds_tolerance=scale.share(scale.tolerance),
    )


def verify_once(bundle: Bundle, engine: Engine) -> None:
    """Verify a bundle that was never verified, and store the result in its manifest; without a reference, do nothing.

    Raises:
        VerificationError, EngineError: see ``verify``.
    """
    if bundle.manifest.verification is not None:
        return
    reference = reference_of(bundle)
    if reference is None:
        return
    found = verify(engine, reference)
    # A read-only bundle is verified again at every start, which costs a few inferences.
    with contextlib.suppress(OSError):
        replace_manifest(bundle, verification=found)
