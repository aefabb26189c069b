"""What a network family provides to the export. A new family implements these and is listed in ``registry``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from engines.manifest import Preprocessing


class StagedNetwork(nn.Module):
    """Normalised pixels [N, T, 3, crop, crop] to softmax probabilities in FP32, [N, labels]."""

    def stages(self) -> Iterator[tuple[str, nn.Module]]:
        """The names and modules that compute the logits, in the order in which a clip passes through them."""
        raise NotImplementedError

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = pixels
        for _, stage in self.stages():
            features = stage(features)
        return features.float().softmax(-1)


@dataclass(frozen=True)
class NetworkSizes:
    """``parameters`` counts those that the classifier uses, ``stored`` all those in the checkpoint.

    ``activation_bytes`` is the size of the largest intermediate results while the published model runs in FP32.
    ``head_size`` is the number of features of each attention head.
    """

    parameters: int
    stored: int
    activation_bytes: int
    head_size: int


@dataclass(frozen=True)
class ReferenceProcessor:
    """The preprocessing that reference answers are computed with, and ``described``: what it is.

    ``prepare`` turns uint8 RGB frames [T, 3, H, W] into the model's input, float32 [1, T, 3, crop, crop].
    """

    described: str
    prepare: Callable[[torch.Tensor], torch.Tensor]


class Checkpoint(Protocol):
    """A published video classifier: its identity, its input, its labels and its weights."""

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
        """Hex digest of the configuration and the weights."""
        ...

    @property
    def random_weights(self) -> bool: ...

    @property
    def ignored(self) -> tuple[str, ...]:
        """Fields of the configuration and names of weights that the model does not know, accepted by the user."""
        ...

    @property
    def preprocessing(self) -> Preprocessing: ...

    @property
    def processor(self) -> ReferenceProcessor:
        """The checkpoint's own preprocessing; raises CheckpointError."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order of the outputs."""
        ...

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """Frames, channels, height and width of the network's input."""
        ...

    def sizes(self) -> NetworkSizes:
        """The sizes of the network, computed from the configuration without loading weights."""
        ...

    def load(self) -> Any:
        """The published model in FP32, ready for inference; raises CheckpointError."""
        ...

    def probabilities(self, model: Any, pixels: torch.Tensor) -> torch.Tensor:
        """The output of the loaded ``model`` for normalised pixels [N, T, 3, crop, crop]: FP32 [N, labels]."""
        ...

    def network(self, model: Any, *, fused_attention: bool, stacked: bool) -> StagedNetwork:
        """The same function in the form for compilers. It takes over the modules of ``model``, which becomes unusable.

        With ``fused_attention``, attention is one operation. With ``stacked``, Q, K and V are one matrix product.
        """
        ...
