"""What a network family provides to the export. A new family implements these and is listed in ``registry``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from engines.manifest import FeatureKind, FeaturePart, Preprocessing


class StagedNetwork(nn.Module):
    """Normalised pixels [N, T, 3, crop, crop] to softmax probabilities [N, labels] and features [N, F], both in FP32.

    ``classifies``: the last stage computes logits; without it, the network has only features.
    """

    classifies = True

    def stages(self) -> Iterator[tuple[str, nn.Module]]:
        """The names and modules that compute the logits, in the order in which a clip passes through them."""
        raise NotImplementedError

    def features(self, stage: str, output: torch.Tensor) -> dict[FeatureKind, torch.Tensor]:
        """The features that are made of the ``output`` of that stage: FP32 [N, size] each; none of most stages."""
        raise NotImplementedError

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values, features = pixels, list[torch.Tensor]()
        for name, stage in self.stages():
            values = stage(values)
            features += self.features(name, values).values()
        described = torch.cat(features, -1)
        return (values.float().softmax(-1), described) if self.classifies else (described,)


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
    """A published video classifier or encoder: its identity, its input, its labels and its weights."""

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
        """In the order of the outputs; empty for a pretrained encoder."""
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

    @property
    def feature_parts(self) -> tuple[FeaturePart, ...]:
        """What the features of the network are, in their order."""
        ...

    def answers(self, model: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the loaded ``model`` computes from normalised pixels [N, T, 3, crop, crop].

        Probabilities, FP32 [N, labels], without columns for a pretrained encoder; and features, FP32 [N, F].
        """
        ...

    def network(self, model: Any, *, fused_attention: bool, stacked: bool) -> StagedNetwork:
        """The same function in the form for compilers. It takes over the modules of ``model``, which becomes unusable.

        With ``fused_attention``, attention is one operation. With ``stacked``, Q, K and V are one matrix product.
        """
        ...
