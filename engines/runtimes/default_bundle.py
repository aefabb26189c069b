"""Which bundle is served when none is named, and why."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from commandline.programs import command
from engines import manifest as manifests
from engines.device.cuda_driver import cuda_devices
from engines.manifest import Manifest
from engines.storage.bundle import BUNDLES, DEMO, bundles_in
from engines.storage.pinned_name import pinned_bundle

_PASSED_OVER_SHOWN = 3


@dataclass(frozen=True)
class Choice:
    """The bundle in ``path``; ``reason`` says in one line why it was taken and which newer ones were not."""

    path: Path
    reason: str


def default_bundle(bundles: Path = BUNDLES) -> Choice:
    """The pinned bundle, else the best of those in ``bundles`` that this machine can serve, else the demo.

    A bundle that was verified is better than one that was not, and of equally good bundles the newest is the best.
    Bundles of random weights are served only if they are pinned or named.
    """
    pinned = pinned_bundle(bundles)
    if pinned is not None:
        return Choice(pinned, f"pinned with `{command('export', 'use', pinned.name)}`")
    found = [(path, _objection(path)) for path in bundles_in(bundles) if path != DEMO]
    for accepted, quality in ((None, "verified"), (_NOT_VERIFIED, "unverified")):
        for place, (path, objection) in enumerate(found):
            if objection == accepted:
                return Choice(path, f"the newest {quality} bundle that runs here{_passed_over(found[:place])}")
    return Choice(DEMO, f"no bundle was built that runs here{_passed_over(found)}")


_NOT_VERIFIED = "not verified"


def _passed_over(newer: list[tuple[Path, str | None]]) -> str:
    """The newer bundles that were not taken, and why; at most the newest three."""
    told = ", ".join(f"{path.name} ({objection})" for path, objection in newer[:_PASSED_OVER_SHOWN])
    more = len(newer) - _PASSED_OVER_SHOWN
    return (f"; not taken: {told}" if told else "") + (f" and {more} more" if more > 0 else "")


def _objection(path: Path) -> str | None:
    """Why the bundle in ``path`` should not be served without being named; None where nothing is against it."""
    try:
        manifest = manifests.decode((path / manifests.FILE_NAME).read_bytes())
    except (msgspec.DecodeError, OSError):
        return "unreadable"
    return next(_objections(manifest), None)


def _objections(manifest: Manifest) -> Iterator[str]:
    """The gravest first."""
    if manifest.format_version not in manifests.READ_VERSIONS:
        yield f"format version {manifest.format_version}"
    if manifest.source.random_weights:
        yield "random weights"
    if not _runs_here(manifest):
        yield f"its {manifest.target} engine does not run on this machine"
    if manifest.verification is None:
        yield _NOT_VERIFIED


def _runs_here(manifest: Manifest) -> bool:
    """Whether this machine has the device that the bundle's target needs."""
    if manifest.target == "openvino":
        return True
    if not importlib.util.find_spec("torch"):
        return False
    return manifest.target == "torch" or any(manifest.fits(gpu.compute_capability) for gpu in cuda_devices())
