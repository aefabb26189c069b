"""Compares the outputs of a loaded network with those that its manifest describes."""

from __future__ import annotations

from collections.abc import Sequence

from engines.errors import BundleDamagedError
from engines.manifest import Manifest
from engines.storage.bundle import Bundle


def check_outputs(bundle: Bundle, found: Sequence[int | None]) -> None:
    """Raises BundleDamagedError unless the network's outputs have the sizes that the manifest says.

    ``found``: the values of each output for one clip, in their order; None for an output of a variable size.
    """
    wanted = list(_wanted(bundle.manifest))
    if len(found) != len(wanted):
        _refuse(bundle, f"describes {len(wanted)} outputs, but its network has {len(found)}")
    for (size, what), values in zip(wanted, found, strict=True):
        if values not in (None, size):
            _refuse(bundle, f"names {size} {what}, but its network has {values} outputs")


def _wanted(manifest: Manifest) -> Sequence[tuple[int, str]]:
    labels = [(len(manifest.labels), "labels")] if manifest.network_output is not None else []
    return labels + ([(manifest.features.size, "features")] if manifest.features else [])


def _refuse(bundle: Bundle, why: str) -> None:
    raise BundleDamagedError(f"bundle {bundle.path} {why}", help="export the model again")
