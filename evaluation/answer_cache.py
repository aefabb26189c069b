"""Keeps the answers for the clips of a video by its content, so that asking again takes no engine."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from archive.decoding.job import Sampling
from engines.engine import Model
from video.images import image_paths

Floats = npt.NDArray[np.float32]
_ARRAYS = ("start_s", "end_s", "probabilities", "features")


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers for the N clips of a video.

    ``start_s`` and ``end_s``: float64 [N]; ``probabilities``: float32 [N, labels]; ``features``: float32 [N, F], with
    F = 0 where they were not asked for or the network has none.
    """

    start_s: npt.NDArray[np.float64]
    end_s: npt.NDArray[np.float64]
    probabilities: Floats
    features: Floats


def default_directory() -> Path:
    """Where answers are kept: ``vjepa2-serve/answers`` in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vjepa2-serve" / "answers"


class AnswerCache:
    """Answers of ``model`` for videos that are sampled by ``sampling``, one file each in ``directory``.

    A file that is damaged, or cannot be written, is as if it were not there.
    """

    def __init__(self, directory: Path, model: Model, sampling: Sampling, *, features: bool) -> None:
        manifest = model.manifest
        known = (manifest.content_sha256(), model.device_name, model.precision, sampling, features)
        self._identity = msgspec.json.encode(known, order="deterministic")
        self._directory = directory

    def key(self, video: Path) -> str | None:
        """The name of the answers for the content of ``video``; None where it cannot be read."""
        digest = hashlib.sha256(self._identity)
        try:
            for path in image_paths(video, video.name) if video.is_dir() else [video]:
                if not path.is_file():
                    return None
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        except Exception:  # whoever decodes it says what is wrong
            return None
        return digest.hexdigest()

    def get(self, key: str) -> Answers | None:
        """What was kept under ``key``, if it is there."""
        try:
            with np.load(io.BytesIO(self._path(key).read_bytes()), allow_pickle=False) as arrays:
                return Answers(**{name: arrays[name] for name in _ARRAYS})
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, key: str, answers: Answers) -> None:
        """Keep ``answers`` under ``key``; written aside and renamed."""
        with suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
            aside = self._directory / f".{key}.{os.getpid()}.partial"
            try:
                with aside.open("wb") as file:
                    np.savez(file, **{name: getattr(answers, name) for name in _ARRAYS})
                aside.rename(self._path(key))
            finally:
                aside.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._directory / f"{key}.npz"
