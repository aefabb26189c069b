"""The lean network: a V-JEPA 2 in which everything that does not depend on the pixels is precomputed.

Architecture: V-JEPA 2 (arXiv 2506.09985), as in transformers' ``modeling_vjepa2``. Tubelets of the clip become tokens.
Transformer blocks process them, with rotary positions over frame, row and column. An attentive pooler, which consists
of blocks and one learned query, reduces them to one vector for a linear classifier. The lean network computes the same
function up to rounding, with these changes:

- The convolution of the patches is one matrix product.
- Q, K and V are one matrix product with the attention's scale folded into Q (for CPUs, three products).
- The rotation uses one table of cosines and one of sines (``rotary``) instead of computing angles in every layer.
- The pooler's query is folded into its key projection. The bias of K adds the same value to the scores of all tokens,
  which the softmax cancels. The weights of the softmax sum to 1, so values are projected once, after the weighted sum.

Shapes: N clips, T frames, S tokens, C width, H heads, D = C / H, L labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from torch import nn
from transformers import VJEPA2ForVideoClassification, VJEPA2Model

from engines.manifest import FeatureKind
from export.architectures.base import StagedNetwork
from export.architectures.vjepa2.rotary import Rotary, half_split_order


class LeanEncoder(StagedNetwork):
    """Normalised pixels [N, T, 3, crop, crop] to features in FP32, [N, F], of the encoder's tokens.

    Takes over the modules of ``model``, which becomes unusable, so that no weight is held twice. With
    ``fused_attention``, attention is one operation, for runtimes with a kernel for it; otherwise it is two products and
    a softmax. With ``stacked``, Q, K and V are one product, which is faster on GPUs; OpenVINO would copy its parts.
    """

    classifies = False

    def __init__(self, model: VJEPA2Model, *, fused_attention: bool = False, stacked: bool = True) -> None:
        super().__init__()
        config, encoder = model.config, model.encoder
        heads = config.num_attention_heads
        self.patches = Patches(encoder.embeddings.patch_embeddings.proj, config.frames_per_clip, config.crop_size)
        grid = self.patches.grid
        rotary = Rotary(config.hidden_size // heads, self.patches.depth * grid**2, grid)
        self.blocks = nn.Sequential(*(_encoder_block(layer, heads, rotary, stacked) for layer in encoder.layer))
        self.norm = encoder.layernorm
        self._choose_attention(fused_attention)

    def stages(self) -> Iterator[tuple[str, nn.Module]]:
        yield "patches", self.patches
        yield from ((f"blocks.{index}", block) for index, block in enumerate(self.blocks))
        yield "norm", self.norm

    def features(self, stage: str, output: torch.Tensor) -> dict[FeatureKind, torch.Tensor]:
        return tubelet_features(output, self.patches.depth) if stage == "norm" else {}

    def _choose_attention(self, fused: bool) -> None:
        for module in self.modules():
            if isinstance(module, Attention):
                module.fused = fused


def tubelet_features(tokens: torch.Tensor, depth: int) -> dict[FeatureKind, torch.Tensor]:
    """Mean and maximum over the patches of each of ``depth`` tubelets of ``tokens`` [N, S, C]: FP32 [N, depth * C]."""
    # In FP32, because a sum over the patches may exceed the range of FP16.
    by_tubelet = tokens.float().reshape(-1, depth, tokens.shape[1] // depth, tokens.shape[2])
    return {"tubelet_means": by_tubelet.mean(2).flatten(1), "tubelet_maxima": by_tubelet.amax(2).flatten(1)}


class LeanClassifier(LeanEncoder):
    """The encoder with its pooler, whose output is a feature too, and its classifier: probabilities in FP32, [N, L]."""

    classifies = True

    def __init__(
        self, model: VJEPA2ForVideoClassification, *, fused_attention: bool = False, stacked: bool = True
    ) -> None:
        super().__init__(model.vjepa2, stacked=stacked)
        heads = model.config.num_attention_heads
        self.pooler_blocks = nn.Sequential(
            *(_pooler_block(layer, heads, stacked) for layer in model.pooler.self_attention_layers)
        )
        self.pooler = Pooler(model.pooler, heads)
        self.classifier = model.classifier
        self._choose_attention(fused_attention)

    def stages(self) -> Iterator[tuple[str, nn.Module]]:
        yield from super().stages()
        yield from ((f"pooler_blocks.{index}", block) for index, block in enumerate(self.pooler_blocks))
        yield "pooler", self.pooler
        yield "classifier", self.classifier

    def features(self, stage: str, output: torch.Tensor) -> dict[FeatureKind, torch.Tensor]:
        return {"pooled": output.float()} if stage == "pooler" else super().features(stage, output)


class Patches(nn.Module):
    """Pixels [N, T, 3, crop, crop] to tokens [N, S, C], one per tubelet; ``depth`` is their number along time.

    The kernels of the checkpoint's convolution do not overlap, so it is one product with the pixels of the tubelets.
    """

    def __init__(self, convolution: nn.Conv3d, frames: int, crop: int) -> None:
        super().__init__()
        self.tubelet, self.patch = int(convolution.kernel_size[0]), int(convolution.kernel_size[1])
        # A clip that is shorter than a tubelet is repeated, as in transformers.
        self.repeats = self.tubelet if frames < self.tubelet else 1
        self.depth, self.grid = frames * self.repeats // self.tubelet, crop // self.patch
        bias = None if convolution.bias is None else convolution.bias.detach()
        self.projection = _linear(convolution.weight.detach().flatten(1), bias)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        weight = self.projection.weight
        if pixels.dtype != weight.dtype:
            pixels = pixels.to(weight.dtype)
        if self.repeats > 1:
            pixels = torch.cat([pixels] * self.repeats, 1)
        edge, colours = self.grid * self.patch, pixels.shape[2]
        used = pixels[:, : self.depth * self.tubelet, :, :edge, :edge]
        split = used.reshape(-1, self.depth, self.tubelet, colours, self.grid, self.patch, self.grid, self.patch)
        tubelets = split.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4).flatten(1, 3)
        tokens: torch.Tensor = self.projection(tubelets)
        return tokens


class Block(nn.Module):
    """Pre-norm transformer block on tokens [N, S, C]."""

    def __init__(self, norm1: nn.Module, attention: nn.Module, norm2: nn.Module, mlp: nn.Module) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2, self.mlp = norm1, attention, norm2, mlp

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attention(self.norm1(tokens))
        residual: torch.Tensor = self.mlp(self.norm2(tokens))
        return tokens + residual


class Attention(nn.Module):
    """Multi-head self-attention on tokens [N, S, C], with rotary positions if ``rotary`` is given."""

    def __init__(
        self,
        query: nn.Linear,
        key: nn.Linear,
        value: nn.Linear,
        output: nn.Linear,
        heads: int,
        rotary: Rotary | None,
        stacked: bool,
    ) -> None:
        super().__init__()
        scale = (query.out_features // heads) ** -0.5
        if rotary is not None:
            query, key = _half_split(query, heads), _half_split(key, heads)
        self.heads, self.rotary, self.fused, self.stacked = heads, rotary, False, stacked
        self.widths = [linear.out_features for linear in (query, key, value)]
        if stacked:
            self.qkv = _stacked(_scaled(query, scale), key, value)
        else:
            self.query, self.key, self.value = _scaled(query, scale), key, value
        self.output = output

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self._project(tokens))
        if self.rotary is not None:
            query, key = self.rotary(query), self.rotary(key)
        heads = self._attend(query, key, value)
        attended: torch.Tensor = self.output(heads.transpose(1, 2).flatten(2))
        return attended

    def _project(self, tokens: torch.Tensor) -> Iterable[Any]:
        """Queries, keys and values, [N, S, H * D] each."""
        if self.stacked:
            return cast(Iterable[Any], self.qkv(tokens).split(self.widths, -1))
        return self.query(tokens), self.key(tokens), self.value(tokens)

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """[N, H, S, D] for queries that already contain the scale."""
        if self.fused:
            return nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        return (query @ key.transpose(-2, -1)).softmax(-1) @ value


class Pooler(nn.Module):
    """Attention of one learned query to all tokens [N, S, C]; returns [N, C]."""

    query: torch.Tensor
    score: torch.Tensor
    value: torch.Tensor
    value_bias: torch.Tensor

    def __init__(self, pooler: Any, heads: int) -> None:
        super().__init__()
        layer = pooler.cross_attention_layer
        attention = layer.cross_attn
        query = pooler.query_tokens.detach()[0, 0].clone()
        self.register_buffer("query", query)
        self.register_buffer("score", _score_weights(attention.q_proj, attention.k_proj, query, heads))
        self.register_buffer("value", _by_head(attention.v_proj.weight, heads).transpose(1, 2).contiguous())
        self.register_buffer("value_bias", attention.v_proj.bias.detach())
        self.norm1, self.norm2, self.mlp = layer.layer_norm1, layer.layer_norm2, layer.mlp

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = self.norm1(tokens)
        weights = (tokens @ self.score).transpose(1, 2).softmax(-1)
        summed = (weights @ tokens).unsqueeze(2)
        pooled = self.query + (summed @ self.value).flatten(1) + self.value_bias
        residual: torch.Tensor = self.mlp(self.norm2(pooled))
        return pooled + residual


def _encoder_block(layer: Any, heads: int, rotary: Rotary, stacked: bool) -> Block:
    old = layer.attention
    attention = Attention(old.query, old.key, old.value, old.proj, heads, rotary, stacked)
    layer.attention = None
    return Block(layer.norm1, attention, layer.norm2, layer.mlp)


def _pooler_block(layer: Any, heads: int, stacked: bool) -> Block:
    old = layer.self_attn
    attention = Attention(old.q_proj, old.k_proj, old.v_proj, old.out_proj, heads, None, stacked)
    layer.self_attn = None
    return Block(layer.layer_norm1, attention, layer.layer_norm2, layer.mlp)


def _score_weights(
    query_projection: nn.Linear, key_projection: nn.Linear, query: torch.Tensor, heads: int
) -> torch.Tensor:
    """The matrix that maps a token [C] to its attention scores [H]: float32 [C, H]."""
    projected = _by_head(query_projection(query), heads).double()
    keys = _by_head(key_projection.weight, heads).double()
    scores: torch.Tensor = (projected[:, None] @ keys)[:, 0] * projected.shape[1] ** -0.5
    return scores.T.float().contiguous()


def _by_head(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """[C, ...] as [H, D, ...]."""
    return rows.detach().view(heads, -1, *rows.shape[1:])


def _half_split(linear: nn.Linear, heads: int) -> nn.Linear:
    """The projection with the features of each head in half-split order."""
    size = linear.out_features // heads
    order = half_split_order(size)

    def reorder(rows: torch.Tensor) -> torch.Tensor:
        by_head = _by_head(rows, heads)
        padding = by_head.new_zeros(heads, size % 2, *by_head.shape[2:])
        return torch.cat((by_head, padding), 1)[:, order].flatten(0, 1)

    return _linear(reorder(linear.weight), None if linear.bias is None else reorder(linear.bias))


def _scaled(linear: nn.Linear, scale: float) -> nn.Linear:
    bias = None if linear.bias is None else linear.bias.detach() * scale
    return _linear(linear.weight.detach() * scale, bias)


def _stacked(*linears: nn.Linear) -> nn.Linear:
    """One projection whose output is the concatenated output of all ``linears``."""
    biases = [linear.bias.detach() for linear in linears if linear.bias is not None]
    return _linear(torch.cat([linear.weight.detach() for linear in linears]), torch.cat(biases) if biases else None)


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight)
    if bias is not None:
        linear.bias = nn.Parameter(bias)
    return linear
