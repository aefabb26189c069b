"""Reads and writes the demo checkpoint as a Hugging Face directory with its preprocessing and model card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from transformers import VJEPA2Config, VJEPA2ForVideoClassification

from export.demo.labels import LABELS
from export.demo.training.dataset import CROP, FRAMES, PREPROCESSING

MODEL_CARD = """---
library_name: transformers
pipeline_tag: video-classification
---
# Demo checkpoint

A small V-JEPA 2 video classifier (16 frames of 64 x 64 pixels) trained from scratch on rendered clips to tell
{count} motions apart by their Something-Something v2 labels. It is for trials and tests without the published
checkpoints. It recognises motions, not objects. `docs/demo.md` describes how it was trained and what it can do.

{labels}
"""


def configuration() -> VJEPA2Config:
    """Return the architecture: 1.1 million parameters, with the smallest predictor that the model class allows."""
    return VJEPA2Config(
        crop_size=CROP,
        patch_size=8,
        frames_per_clip=FRAMES,
        tubelet_size=4,
        hidden_size=112,
        num_attention_heads=4,
        num_hidden_layers=4,
        num_pooler_layers=1,
        # With the usual 0.02, such a small network stays at chance level.
        initializer_range=0.05,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
        pred_num_mask_tokens=1,
        pred_mlp_ratio=1.0,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )


def video_preprocessor_config() -> dict[str, object]:
    """Return the file content that transformers' ``VJEPA2VideoProcessor`` writes for this crop."""
    return {
        "crop_size": {"height": PREPROCESSING.crop, "width": PREPROCESSING.crop},
        "data_format": "channels_first",
        "default_to_square": False,
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(PREPROCESSING.mean),
        "image_std": list(PREPROCESSING.std),
        "model_input_names": ["pixel_values_videos"],
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": PREPROCESSING.resize},
        "video_processor_type": "VJEPA2VideoProcessor",
    }


def write(model: VJEPA2ForVideoClassification, directory: Path) -> None:
    """Write the checkpoint to a temporary directory, then rename it to ``directory``, so that it is always complete."""
    aside = directory.with_name(f"{directory.name}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    model.save_pretrained(aside)
    # safetensors creates files that only the owner can read, even if the umask allows more.
    (aside / "model.safetensors").chmod((aside / "config.json").stat().st_mode)
    preprocessor = json.dumps(video_preprocessor_config(), indent=2) + "\n"
    (aside / "video_preprocessor_config.json").write_text(preprocessor)
    card = MODEL_CARD.format(count=len(LABELS), labels="\n".join(f"- {label}" for label in LABELS))
    (aside / "README.md").write_text(card)
    if directory.exists():
        shutil.rmtree(directory)
    aside.rename(directory)


def read(directory: Path) -> VJEPA2ForVideoClassification:
    """Load the model of a checkpoint directory in evaluation mode.

    Raises ValueError if the directory contains no checkpoint, or if its labels or input size differ from the demo's.
    """
    if not (directory / "config.json").is_file():
        raise ValueError(f"{directory} is not a checkpoint directory: it has no config.json")
    model = VJEPA2ForVideoClassification.from_pretrained(directory, local_files_only=True)
    found = [model.config.id2label.get(index) for index in range(model.config.num_labels)]
    if found != list(LABELS) or (model.config.crop_size, model.config.frames_per_clip) != (CROP, FRAMES):
        raise ValueError(f"{directory} is not a demo checkpoint: its labels or its input size differ")
    return model.eval()


def normalise(clips: torch.Tensor) -> torch.Tensor:
    """Normalise frames float32 [N, T, 3, H, W] in [0, 1] to the network input, in place."""
    mean, std = torch.tensor(PREPROCESSING.mean), torch.tensor(PREPROCESSING.std)
    return clips.sub_(mean[:, None, None]).div_(std[:, None, None])


def discard(directory: Path) -> None:
    """Remove a checkpoint directory that is no longer needed."""
    shutil.rmtree(directory, ignore_errors=True)
