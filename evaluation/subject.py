"""What is evaluated: a bundle with its own labels, or with those of a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from archive.errors import InputError
from commandline.programs import command
from commandline.suggestions import did_you_mean
from engines.linear_heads.head import Head
from engines.linear_heads.manifest import UNKNOWN
from engines.linear_heads.storage import open_head
from engines.manifest import Manifest
from engines.storage.bundle import Bundle, open_bundle
from evaluation.answer_cache import Answers
from evaluation.labelled import plain

BACKGROUND = "background"
"""The directory of videos that show none of the actions of a head."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Subject:
    """``bundle``, and the ``head`` that answers from its features, if it is one that is evaluated."""

    name: str
    bundle: Bundle
    head: Head | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the answers; the last one of a head is ``unknown``."""
        return self.head.labels if self.head else self.bundle.manifest.labels

    def confidences(self, answers: Answers) -> Floats:
        """Float32 [labels]: the answer for a video, which is the mean of those for its clips."""
        clips = answers.probabilities
        if self.head is not None:
            clips = np.stack([self.head.answer(features).probabilities for features in answers.features])
        mean: Floats = clips.mean(axis=0, dtype=np.float32)
        return mean

    def index_of(self, action: str) -> int:
        """The label that means ``action``, a directory's name. Raises InputError where there is none."""
        wanted = UNKNOWN if self.head and _folded(action) == BACKGROUND else action
        for index, label in enumerate(self.labels):
            if _folded(label) == _folded(wanted):
                return index
        raise InputError(
            f"{self.name} has no label {action!r}{did_you_mean(action, self.labels)}",
            f"name the directories as its labels, which {self._labels_shown_by()}",
        )

    def _labels_shown_by(self) -> str:
        if self.head is not None:
            return f"are {', '.join(self.labels[:8])}{' ...' if len(self.labels) > 8 else ''}"
        return f"`{command('export', 'show', str(self.bundle.path))}` shows"


def subjects_of(bundles: Sequence[Path], heads: Sequence[Path]) -> list[Subject]:
    """Each bundle with its own labels, or if there are ``heads``, with each of these.

    Raises:
        BundleError: a bundle cannot be used.
        HeadError: a head cannot be used.
        InputError: a head was taught on another network, or a bundle has no labels, or two have one name.
    """
    opened = [open_bundle(path) for path in bundles]
    names = _names(opened)
    if not heads:
        return [_plain(name, bundle) for name, bundle in zip(names, opened, strict=True)]
    known = [open_head(path) for path in heads]
    return [_with_head(name, bundle, head) for name, bundle in zip(names, opened, strict=True) for head in known]


def _names(bundles: Sequence[Bundle]) -> list[str]:
    names = [bundle.path.name for bundle in bundles]
    if len(set(names)) == len(names):
        return names
    return [str(bundle.path) for bundle in bundles]


def _plain(name: str, bundle: Bundle) -> Subject:
    if not bundle.manifest.labels:
        raise InputError(f"bundle {bundle.path} has no labels of its own", "evaluate a --head on it")
    return Subject(name, bundle)


def _with_head(name: str, bundle: Bundle, head: Head) -> Subject:
    check_features(bundle.manifest, bundle.path)
    if head.manifest.features != bundle.manifest.features_identity():
        raise InputError(
            f"head {head.manifest.name} was taught on another network ({head.manifest.model}) than bundle {name}",
            f"teach it on this one: `{command('teach', head.manifest.name, 'DIR', '--bundle', str(bundle.path))}`",
        )
    return Subject(f"{name} + {head.manifest.name}", bundle, head)


def check_features(manifest: Manifest, path: Path) -> None:
    """Raises InputError where the bundle of ``manifest`` in ``path`` has no features."""
    if not manifest.features:
        raise InputError(
            f"bundle {path} was exported without features",
            f"export it again: `{command('export', manifest.source.model)}`",
        )


def _folded(label: str) -> str:
    return plain(label).replace("_", " ").strip().casefold()
