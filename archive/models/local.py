"""A model in this process: a bundle, with its own labels or those of a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from archive.errors import InputError
from commandline.programs import command
from engines.clip import Clip
from engines.engine import DeviceShare, Engine, Inference
from engines.linear_heads.head import Head
from engines.linear_heads.storage import open_head
from engines.manifest import Manifest, Precision
from engines.options import EngineOptions
from engines.runtimes.registry import load_engine
from engines.storage.bundle import Bundle, open_bundle


@dataclass(frozen=True)
class LocalModel:
    """``bundle`` on ``device`` (None: the default), and ``classifier``, the head that labels, if one does."""

    bundle: Bundle
    device: str | None = None
    classifier: Head | None = None

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest

    @property
    def sha256(self) -> str:
        return self.bundle.manifest.content_sha256()

    @property
    def head(self) -> str | None:
        return self.classifier.manifest.name if self.classifier else None

    @property
    def head_sha256(self) -> str | None:
        return self.classifier.manifest.digest if self.classifier else None

    @property
    def labels(self) -> tuple[str, ...]:
        return self.classifier.labels if self.classifier else self.bundle.manifest.labels

    def engine(self, threads: int = 0) -> Engine:
        """The engine, with so many CPU threads (0: as many as there are cores). Raises ServiceError."""
        engine = load_engine(self.bundle, EngineOptions(device=self.device, threads=threads))
        return engine if self.classifier is None else HeadEngine(engine, self.classifier)


def local_model(bundle: Path, device: str | None, head: Path | None) -> LocalModel:
    """The model of the bundle in ``bundle``.

    Raises:
        BundleError, HeadError: the bundle or the head cannot be used.
        InputError: the bundle has no labels and there is no head, or the head was taught on another network.
    """
    opened = open_bundle(bundle)
    if head is not None:
        classifier = open_head(head)
        check_head(classifier, opened)
        return LocalModel(opened, device, classifier)
    if not opened.manifest.labels:
        raise InputError(
            f"bundle {opened.path} has no labels of its own", "give a --head, or the --bundle of a classifier"
        )
    return LocalModel(opened, device)


def check_head(head: Head, bundle: Bundle) -> None:
    """Raises InputError where ``head`` was not taught on the features of ``bundle``."""
    check_features(bundle)
    if head.manifest.features != bundle.manifest.features_identity():
        name = head.manifest.name
        raise InputError(
            f"head {name} was taught on another network ({head.manifest.model}) than that of bundle {bundle.path.name}",
            f"teach it on this one: `{command('teach', name, 'DIR', '--bundle', str(bundle.path))}`",
        )


def check_features(bundle: Bundle) -> None:
    """Raises InputError where ``bundle`` has no features."""
    if not bundle.manifest.features:
        raise InputError(
            f"bundle {bundle.path} was exported without features",
            f"export it again: `{command('export', bundle.manifest.source.model)}`",
        )


class HeadEngine:
    """``engine``, whose probabilities are those of ``head``; an ``Engine``."""

    def __init__(self, engine: Engine, head: Head) -> None:
        self._engine = engine
        self._head = head

    @property
    def manifest(self) -> Manifest:
        return self._engine.manifest

    @property
    def device_name(self) -> str:
        return self._engine.device_name

    @property
    def precision(self) -> Precision:
        return self._engine.precision

    @property
    def lanes(self) -> int:
        return self._engine.lanes

    @property
    def compiles_each_batch(self) -> bool:
        return self._engine.compiles_each_batch

    @property
    def share(self) -> DeviceShare | None:
        return self._engine.share

    def allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        return self._engine.allocate(height, width)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        """``probabilities``: float32 [N, labels of the head]."""
        inference = self._engine.infer(clips)
        if inference.features is None:
            raise AssertionError("a bundle with features gave none")
        answers = [self._head.answer(features).probabilities for features in inference.features]
        return replace(inference, probabilities=np.stack(answers))

    def close(self) -> None:
        self._engine.close()
