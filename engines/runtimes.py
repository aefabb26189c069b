"""Which runtime serves which bundle; each is imported only when it is needed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from engines import manifest as manifests
from engines.bundle import BUNDLES, DEMO, Bundle, bundles_in
from engines.engine import Engine
from engines.errors import BundleUnsupportedError

SERVED_TARGETS = frozenset({"openvino"})


def load_engine(bundle: Bundle, *, threads: int = 0) -> Engine:
    """The engine for a checked bundle; ``threads`` bounds what it takes of the CPU, 0 is every core.

    Raises:
        BundleUnsupportedError: no runtime here serves the bundle's target.
        BundleDamagedError, EngineError: see the runtime.
    """
    if bundle.manifest.target == "openvino":
        from engines.openvino_runtime import OpenVinoEngine

        return OpenVinoEngine(bundle, threads=threads)
    raise BundleUnsupportedError(
        f"bundle {bundle.path} is for {bundle.manifest.target}, which this version cannot serve",
        help="export the model again with --target openvino",
    )


def default_bundle(bundles: Path = BUNDLES) -> Path:
    """The newest bundle in ``bundles`` with a checkpoint's weights that this machine can serve, else the demo's."""
    built = (path for path in bundles_in(bundles) if path != DEMO and _is_servable(path))
    return next(built, DEMO)


def _is_servable(path: Path) -> bool:
    try:
        manifest = manifests.decode((path / manifests.FILE_NAME).read_bytes())
    except msgspec.DecodeError:
        return False
    known = manifest.format_version == manifests.FORMAT_VERSION and manifest.target in SERVED_TARGETS
    return known and not manifest.source.random_weights
