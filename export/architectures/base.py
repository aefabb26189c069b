"""What a network family must tell the export. To add a family, implement these and name it in ``registry``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from engines.manifest import Preprocessing


class StagedNetwork(nn.Module):
    """Normalised pixels [N, T, 3, crop, crop] to softmax probabilities in FP32, [N, labels]."""

    def stages(self) -> Iterator[tuple[str, nn.Module]]:
        """The modules that a clip goes through on its way to the logits, in their order, with their names."""
        raise NotImplementedError


@dataclass(frozen=True)
class NetworkSizes:
    """``parameters`` of the classifier, ``stored`` parameters of the checkpoint, which may have more than it needs.

    ``activation_bytes`` is the size of the largest intermediate results while the checkpoint answers in FP32.
    """

    parameters: int
    stored: int
    activation_bytes: int


class Checkpoint(Protocol):
    """A published classifier of clips: what it expects, and its weights."""

    @property
    def model(self) -> str:
        """The hub id, or the name of the directory."""
        ...

    @property
    def revision(self) -> str | None:
        """The commit on the hub; None for a directory."""
        ...

    @property
    def sha256(self) -> str:
        """Hex digest over configuration and weights."""
        ...

    @property
    def random_weights(self) -> bool: ...

    @property
    def preprocessing(self) -> Preprocessing: ...

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the outputs."""
        ...

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """Frames, channels, height and width of the network's input."""
        ...

    def sizes(self) -> NetworkSizes:
        """Computed from the configuration, before any weight is loaded."""
        ...

    def load(self) -> Any:
        """The published model in FP32, ready for inference; raises CheckpointError."""
        ...

    def probabilities(self, model: Any, pixels: torch.Tensor) -> torch.Tensor:
        """What the loaded ``model`` answers to normalised pixels [N, T, 3, crop, crop]: FP32 [N, labels]."""
        ...

    def network(self, model: Any, *, fused_attention: bool, stacked: bool) -> StagedNetwork:
        """The same function in the form that compilers get; it takes over the modules of ``model``.

        With ``fused_attention`` attention is one operation. With ``stacked`` products of the same input are one.
        """
        ...
