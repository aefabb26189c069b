"""Selects the runtime that serves a bundle; a runtime is imported only when a bundle needs it."""

from __future__ import annotations

import importlib.util

from engines import manifest as manifests
from engines.engine import Engine
from engines.errors import BundleUnsupportedError, ConfigurationError
from engines.options import EngineOptions
from engines.storage.bundle import Bundle
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
