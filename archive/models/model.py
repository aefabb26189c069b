"""What the archive knows of a model, wherever it runs."""

from __future__ import annotations

from typing import Protocol

from engines.engine import Engine
from engines.manifest import Manifest


class LabellingModel(Protocol):
    """A model that labels windows.

    ``sha256`` is the digest of the bundle's content. ``labels`` are those of the answers: of the head named ``head``
    with the digest ``head_sha256``, or where these are None, of the model itself.
    """

    @property
    def manifest(self) -> Manifest: ...

    @property
    def sha256(self) -> str: ...

    @property
    def head(self) -> str | None: ...

    @property
    def head_sha256(self) -> str | None: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    def engine(self, threads: int = 0) -> Engine:
        """An engine whose probabilities are for ``labels``, with so many CPU threads (0: as many as there are cores).

        Raises:
            ServiceError: the engine cannot be loaded.
        """
        ...
