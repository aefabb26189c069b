"""Small V-JEPA 2 checkpoints with random weights whose answers still differ from clip to clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ODD: dict[str, Any] = {
    "frames_per_clip": 12,
    "crop_size": 96,
    "num_labels": 5,
    "hidden_size": 96,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "num_pooler_layers": 2,
    "mlp_ratio": 2.0,
}
_SMALL_PREDICTOR = {
    "pred_hidden_size": 24,
    "pred_num_attention_heads": 1,
    "pred_num_hidden_layers": 1,
    "pred_num_mask_tokens": 1,
}


def write_checkpoint(path: Path, config: dict[str, Any], *, shard: str = "200KB", spread: float = 0.5) -> Path:
    """As ``save_pretrained`` leaves it, in shards of at most ``shard``; without a preprocessor config.

    ``spread`` is the standard deviation of the classifier's weights: how far answers differ.
    """
    import torch
    from transformers import VJEPA2Config, VJEPA2ForVideoClassification

    torch.manual_seed(7)
    model = VJEPA2ForVideoClassification(VJEPA2Config(**{"initializer_range": 0.05, **_SMALL_PREDICTOR, **config}))
    with torch.no_grad():
        model.classifier.weight.normal_(0, spread)
    model.save_pretrained(path, max_shard_size=shard)
    return path


def write_encoder(path: Path, config: dict[str, Any]) -> Path:
    """A pretrained encoder alone, with its predictor, as the published ones are stored."""
    import torch
    from transformers import VJEPA2Config, VJEPA2Model

    torch.manual_seed(7)
    kept = {name: value for name, value in config.items() if name != "num_labels"}
    VJEPA2Model(VJEPA2Config(**{"initializer_range": 0.05, **_SMALL_PREDICTOR, **kept})).save_pretrained(path)
    return path
