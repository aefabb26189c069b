"""Selects the runtime that serves a bundle; a runtime is imported only when a bundle needs it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import msgspec

from engines import manifest as manifests
from engines.device.cuda_driver import cuda_devices
from engines.engine import Engine
from engines.errors import BundleUnsupportedError, ConfigurationError
from engines.manifest import Manifest
from engines.options import EngineOptions
from engines.storage.bundle import BUNDLES, DEMO, Bundle, bundles_in
from engines.storage.verification import verify_once
from engines.storage.writers import check_writers


def load_engine(bundle: Bundle, options: EngineOptions = EngineOptions()) -> Engine:  # noqa: B008, it is frozen
    """Open the engine of a checked bundle, and verify the bundle if it was never verified.

    Raises:
        BundleUnsupportedError: no runtime here serves the bundle's target.
        BundleUntrustedError: other users may write the code in the bundle.
        VerificationError: the answers of the bundle are wrong.
        BundleDamagedError, EngineError: see the runtime.
    """
    engine = open_engine(bundle, options)
    try:
        verify_once(bundle, engine)
    except BaseException:
        engine.close()
        raise
    return engine


def open_engine(bundle: Bundle, options: EngineOptions = EngineOptions()) -> Engine:  # noqa: B008, it is frozen
    """Open the engine as ``load_engine`` does, but without verification."""
    target = bundle.manifest.target
    if target == "openvino":
        _check_cpu(bundle, options.device)
        from engines.runtimes.openvino import OpenVinoEngine

        return OpenVinoEngine(bundle, threads=options.threads)
    if not options.trust_writable_bundles:
        check_writers([*bundle.files(), bundle.content / manifests.FILE_NAME])
    _check_torch(bundle)
    if target == "torch":
        from engines.runtimes.torch_program import open_torch_engine

        return open_torch_engine(bundle, options)
    from engines.runtimes.tensorrt.runtime import open_tensorrt_engine

    return open_tensorrt_engine(bundle, options)


def _check_cpu(bundle: Bundle, device: str | None) -> None:
    if device not in (None, "cpu"):
        raise ConfigurationError(
            f"bundle {bundle.path} is for the CPU, so it cannot run on {device}",
            help="leave out --device, or export the model again with --target torch or tensorrt",
        )


def _check_torch(bundle: Bundle) -> None:
    if not importlib.util.find_spec("torch"):
        raise BundleUnsupportedError(
            f"bundle {bundle.path} is for {bundle.manifest.target}, which needs torch, and torch is not installed",
            help="pip install torch, or export the model again with --target openvino",
        )


def default_bundle(bundles: Path = BUNDLES) -> Path:
    """The newest bundle in ``bundles`` with a checkpoint's weights that this machine can serve, else the demo."""
    built = (path for path in bundles_in(bundles) if path != DEMO and _is_servable(path))
    return next(built, DEMO)


def _is_servable(path: Path) -> bool:
    try:
        manifest = manifests.decode((path / manifests.FILE_NAME).read_bytes())
    except msgspec.DecodeError:
        return False
    current = manifest.format_version == manifests.FORMAT_VERSION
    return current and not manifest.source.random_weights and _runs_here(manifest)


def _runs_here(manifest: Manifest) -> bool:
    """Whether this machine has the device that the bundle's target needs."""
    if manifest.target == "openvino":
        return True
    if not importlib.util.find_spec("torch"):
        return False
    capabilities = {gpu.compute_capability for gpu in cuda_devices()}
    return manifest.target == "torch" or not capabilities.isdisjoint(manifest.device.compute_capabilities)
