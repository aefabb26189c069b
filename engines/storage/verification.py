"""Verifies a bundle: compares its answers to the reference clips with the answers of its checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engines.engine import Engine
from engines.errors import VerificationError
from engines.manifest import Manifest, Precision, Verification
from engines.storage.bundle import Bundle, read_file, replace_manifest
from engines.storage.reference import FILE_NAME, Floats, Reference

# The largest accepted difference between a probability and the checkpoint's probability in FP32.
TOLERANCES: dict[Precision, float] = {"fp32": 2e-3, "bf16": 2e-2, "fp16": 5e-3, "int8": 1e-1}

_CURES: dict[Precision, str] = {
    "int8": "export with --precision bf16 or fp32, or calibrate with your own videos (--calibration)",
    "fp16": "export with --precision bf16, which does not overflow, or fp32",
    "bf16": "export with --precision fp32",
    "fp32": "export for another --target",
}


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
        VerificationError: the error of a probability exceeds the precision's tolerance.
        EngineError: the runtime failed on a batch.
    """
    clips, batches = reference.clips, list(_batches(len(reference.clips), engine.manifest.max_batch))
    answers = np.concatenate([engine.infer([clips[index] for index in batch]).probabilities for batch in batches])
    expected = reference.probabilities[np.concatenate(batches)]
    found = compare(answers, expected, engine.precision, engine.device_name)
    if not found.max_abs_probability_error <= found.tolerance:
        within = np.repeat([len(batch) for batch in batches], [len(batch) for batch in batches])
        raise _wrong(found, within[~(np.abs(answers - expected).max(axis=1) <= found.tolerance)].min())
    return found


def _batches(clips: int, max_batch: int) -> Iterator[list[int]]:
    """The clip indices of each batch; several batch sizes are tested because each size may use other kernels."""
    yield from ([clip] for clip in range(clips))
    sizes = {2**power for power in range(1, max_batch.bit_length())} | {max_batch}
    yield from ([place % clips for place in range(size)] for size in sorted(sizes - {1}))


def _wrong(found: Verification, batch: int) -> VerificationError:
    """The error to raise; ``batch`` is the smallest batch size with a wrong answer."""
    return VerificationError(
        f"on {found.device} the engine's probabilities are up to {found.max_abs_probability_error:.1e} from the"
        f" checkpoint's, {f'in batches of {batch}' if batch > 1 else 'clip by clip'}; accepted in"
        f" {found.precision}: {found.tolerance:.0e}",
        help=_CURES[found.precision],
    )


def compare(answers: Floats, reference: Floats, precision: Precision, device: str) -> Verification:
    """The largest difference, and the shares of clips with the same best label and the same set of five best."""
    ranks, reference_ranks = np.argsort(-answers), np.argsort(-reference)
    same_five = [set(a) == set(b) for a, b in zip(ranks[:, :5], reference_ranks[:, :5], strict=True)]
    return Verification(
        device=device,
        clips=len(answers),
        precision=precision,
        max_abs_probability_error=float(np.abs(answers - reference).max()),
        tolerance=TOLERANCES[precision],
        top1_agreement=float((ranks[:, 0] == reference_ranks[:, 0]).mean()),
        top5_agreement=float(np.mean(same_five)),
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
