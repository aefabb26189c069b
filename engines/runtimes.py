"""Which runtime serves which bundle; each is imported only when it is needed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import msgspec

from engines import manifest as manifests
from engines.bundle import BUNDLES, DEMO, Bundle, bundles_in
from engines.engine import Engine
from engines.errors import BundleUnsupportedError
from engines.manifest import Manifest
from engines.verification import verify_once


def load_engine(bundle: Bundle, *, threads: int = 0) -> Engine:
    """The engine for a checked bundle, verified if it never ran on its device; ``threads`` bounds what it takes of
    the CPU, 0 is every core.

    Raises:
        BundleUnsupportedError: no runtime here serves the bundle's target.
        VerificationError: its answers are wrong.
        BundleDamagedError, EngineError: see the runtime.
    """
    engine = open_engine(bundle, threads=threads)
    try:
        verify_once(bundle, engine)
    except BaseException:
        engine.close()
        raise
    return engine


def open_engine(bundle: Bundle, *, threads: int = 0) -> Engine:
    """As ``load_engine``, for those who verify it themselves."""
    _check_servable(bundle)
    if bundle.manifest.target == "torch":
        from engines.torch_runtime import TorchEngine

        return TorchEngine(bundle, threads=threads)
    from engines.openvino_runtime import OpenVinoEngine

    return OpenVinoEngine(bundle, threads=threads)


def _check_servable(bundle: Bundle) -> None:
    target = bundle.manifest.target
    if target in ("tensorrt", "tensorrt-rtx"):
        raise BundleUnsupportedError(
            f"bundle {bundle.path} is for {target}, which this version cannot serve",
            help="export the model again with --target torch or openvino",
        )
    if target == "torch" and not importlib.util.find_spec("torch"):
        raise BundleUnsupportedError(
            f"bundle {bundle.path} is a torch program, but torch is not installed",
            help="pip install torch, or export the model again with --target openvino",
        )


def default_bundle(bundles: Path = BUNDLES) -> Path:
    """The newest bundle in ``bundles`` with a checkpoint's weights that this machine can serve, else the demo's."""
    built = (path for path in bundles_in(bundles) if path != DEMO and _is_servable(path))
    return next(built, DEMO)


def _is_servable(path: Path) -> bool:
    try:
        manifest = manifests.decode((path / manifests.FILE_NAME).read_bytes())
        _check_servable(Bundle(path, manifest))
    except (msgspec.DecodeError, BundleUnsupportedError):
        return False
    return _is_current(manifest) and not manifest.source.random_weights


def _is_current(manifest: Manifest) -> bool:
    return manifest.format_version == manifests.FORMAT_VERSION
