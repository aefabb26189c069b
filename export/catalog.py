"""Tables of the bundles in this installation, read from their manifests only, which is fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from commandline.suggestions import did_you_mean
from engines import manifest as manifests
from engines.errors import BundleNotFoundError
from engines.manifest import Manifest, Precision, StageError
from engines.storage.bundle import BUNDLES, bundles_in, find_bundle, open_bundle
from engines.storage.pinned_name import pinned_bundle
from engines.storage.verification import carries_reference

if TYPE_CHECKING:
    from rich.console import Console

_WORST_STAGES = 3
_LARGEST_FP16 = 65_504


def locate(name: str) -> Path:
    """The directory of the bundle with this path or this name; raises BundleNotFoundError."""
    path = find_bundle(name)
    if (path / manifests.FILE_NAME).is_file():
        return path
    known = sorted(path.name for path in bundles_in(BUNDLES))
    raise BundleNotFoundError(
        f"no engine bundle {name}{did_you_mean(name, known)}",
        help=f"give its directory, or one of these names: {', '.join(known)}",
    )


def print_list(directory: Path) -> None:
    """Print one row for each bundle in ``directory``, the newest first."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("bundle", "model", "engine", "batch", "device", "size", "verified", "built"):
        table.add_column(column, overflow="fold")
    for path in bundles_in(directory):
        name, *facts = _row(path)
        table.add_row(f"{name} (pinned)" if path == pinned_bundle(directory) else name, *facts)
    _console().print(table)


def print_bundle(path: Path) -> None:
    """Check every file of the bundle, then print its whole manifest."""
    from rich.table import Table

    bundle = open_bundle(path)
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _facts(bundle.manifest):
        table.add_row(name, value)
    _console().print(table)


def described_verification(manifest: Manifest) -> str:
    """Describe the verification result in one line."""
    found = manifest.verification
    if found is None:
        later = "pending: on the first start on the device that the bundle is for"
        return later if carries_reference(manifest) else "never (--no-verify)"
    described = f"{found.clips} clips in {found.precision} on {found.device}:"
    if found.features_error is not None:
        described += f" features within {found.features_error:.1e} (accepted: {found.features_tolerance:.0e}),"
    if found.max_abs_probability_error is None:
        return described.rstrip(",")
    odds = ""
    if found.log_odds_error is not None and found.log_odds_tolerance is not None:
        odds = (
            f" log-odds within {found.log_odds_error:.1e} of their spread (accepted: {found.log_odds_tolerance:.1e}),"
        )
    return (
        f"{described} probabilities within"
        f" {found.max_abs_probability_error:.1e} (accepted: {found.tolerance:.0e}),{odds}"
        f" same top-1 {found.top1_agreement:.0%}, top-5 {found.top5_agreement:.0%}"
    )


def described_values(errors: Sequence[StageError], precision: Precision) -> str:
    """One line: the largest value, in FP16 as a share of its range, and the worst token, each with its stage."""
    highest = max(errors, key=lambda error: error.peak or 0)
    worst = max(errors, key=lambda error: error.worst_token or 0)
    share = (highest.peak or 0) / _LARGEST_FP16
    text = f"largest {highest.peak or 0:,.0f} in {highest.stage}"
    text += f" ({share:.0%} of FP16's range)" if precision == "fp16" else ""
    text += f", worst token {worst.worst_token or 0:.1e} of its norm off in {worst.stage}"
    return (
        f"{text}; other clips may overflow: --precision bf16 is safer" if precision == "fp16" and share > 0.5 else text
    )


def _row(path: Path) -> tuple[str, ...]:
    try:
        manifest = manifests.decode((path / manifests.FILE_NAME).read_bytes())
    except msgspec.DecodeError:
        return path.name, "unreadable", *[""] * 6
    found = manifest.verification
    return (
        path.name,
        described_model(manifest),
        f"{manifest.target} {manifest.precision}",
        f"1..{manifest.max_batch}",
        _device(manifest),
        described_size(manifest),
        "no" if found is None else f"{found.max_abs_probability_error or found.features_error or 0:.0e}",
        manifest.built_at[:10],
    )


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    preprocessing = manifest.preprocessing
    yield "bundle", manifest.name
    yield "model", f"{described_model(manifest)}, revision {manifest.source.revision or '-'}"
    yield "digest", f"{manifest.content_sha256()} (for --bundle-sha256)"
    yield "source", f"sha256 {manifest.source.sha256}"
    yield "engine", f"{manifest.target} {manifest.precision}, batch 1 to {manifest.max_batch}"
    yield "device", _device(manifest)
    yield "input", f"{manifest.frames} frames, short edge {preprocessing.resize}, crop {preprocessing.crop}"
    yield (
        "labels",
        f"{len(manifest.labels)}: {', '.join(manifest.labels[:3])}{', ...' if len(manifest.labels) > 3 else ''}",
    )
    yield "features", _described_features(manifest)
    yield "verification", described_verification(manifest)
    if manifest.stage_errors:
        yield "loses most in", _worst_stages(manifest)
    if manifest.stage_errors and manifest.stage_errors[0].peak is not None:
        yield "values", described_values(manifest.stage_errors, manifest.precision)
    if manifest.options:
        yield "options", ", ".join(f"{name} {value}" for name, value in manifest.options.items())
    yield "built", f"{manifest.built_at} with {', '.join(f'{name} {was}' for name, was in manifest.built_with.items())}"
    for file in manifest.files:
        yield "file", f"{file.name}  {file.size_bytes:,} bytes  sha256 {file.sha256[:16]}"


def _described_features(manifest: Manifest) -> str:
    if not manifest.features:
        return "none: this bundle was exported before there were any; export the model again to teach heads on it"
    parts = ", ".join(f"{part.kind} {part.size:,}" for part in manifest.features.parts)
    return f"{manifest.features.size:,}: {parts}; heads fit {manifest.features_identity()}"


def _worst_stages(manifest: Manifest) -> str:
    """Name the stages in which the error grows the most compared with the stage before."""
    before = [0.0, *(stage.relative_error for stage in manifest.stage_errors)]
    grown = [(stage.relative_error - was, stage) for was, stage in zip(before, manifest.stage_errors, strict=False)]
    worst = sorted(grown, key=lambda pair: -pair[0])[:_WORST_STAGES]
    return ", ".join(f"{stage.stage} ({stage.relative_error:.1e})" for _, stage in worst)


def described_model(manifest: Manifest) -> str:
    """Return the name of the model, whether its weights are random, and what of its checkpoint was ignored."""
    source = manifest.source
    ignored = f" (ignoring {source.ignores()})" if source.ignored else ""
    return f"{source.model}{' (random weights)' if source.random_weights else ''}{ignored}"


def _device(manifest: Manifest) -> str:
    capabilities = ", ".join(manifest.device.compute_capabilities)
    return f"{manifest.device.name} ({capabilities})" if capabilities else manifest.device.name


def described_size(manifest: Manifest) -> str:
    """Return the size of all files of the bundle together, in MB."""
    return f"{sum(file.size_bytes for file in manifest.files) / 1e6:,.1f} MB"


def _console() -> Console:
    """Return a console that does not fold lines when its output is a file or a pipe."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=400)
