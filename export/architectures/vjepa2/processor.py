"""The checkpoint's own preprocessing, which shares no code with the engines', for the reference answers."""

from __future__ import annotations

from importlib.metadata import version

import torch
from transformers import AutoVideoProcessor, VJEPA2VideoProcessor

from engines.errors import CheckpointError, first_line
from export.architectures.base import ReferenceProcessor
from export.architectures.vjepa2.preprocessor import PROCESSOR, Preprocessor


def reference_processor(preprocessor: Preprocessor) -> ReferenceProcessor:
    """The processor of transformers where torchvision, which it needs, can be imported; else its steps in torch.

    Raises:
        CheckpointError: transformers cannot load the processor.
    """
    try:
        import torchvision
    except (ImportError, OSError, RuntimeError):  # also when it was built for another torch
        return ReferenceProcessor(
            f"torch {version('torch')} without torchvision", lambda frames: _in_torch(frames, preprocessor)
        )
    described = f"{PROCESSOR} of transformers {version('transformers')} with torchvision {torchvision.__version__}"
    processor = _processor(preprocessor)

    def prepare(frames: torch.Tensor) -> torch.Tensor:
        batch = processor(
            videos=[frames], do_sample_frames=False, input_data_format="channels_first", return_tensors="pt"
        )
        pixels: torch.Tensor = batch["pixel_values_videos"].float()
        return pixels

    return ReferenceProcessor(described, prepare)


def _processor(preprocessor: Preprocessor) -> VJEPA2VideoProcessor:
    if preprocessor.path is None:
        return VJEPA2VideoProcessor(crop_size=preprocessor.crop_pixels())
    directory = preprocessor.path.parent
    try:
        return AutoVideoProcessor.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many types of exceptions
        raise CheckpointError(
            f"transformers cannot use {preprocessor.path}: {first_line(error)}", help=f"accepted: a {PROCESSOR}"
        ) from error


def _in_torch(frames: torch.Tensor, preprocessor: Preprocessor) -> torch.Tensor:
    """The steps of the processor, in its order and with the functions of torch that torchvision calls."""
    crop = preprocessor.crop_pixels()
    short, (height, width) = int(crop * 256 / 224), frames.shape[-2:]
    size = (short, int(short * width / height)) if height <= width else (int(short * height / width), short)
    resized = torch.nn.functional.interpolate(frames, size, mode="bilinear", antialias=True)
    top, left = (size[0] - crop) // 2, (size[1] - crop) // 2
    scaled = resized[:, :, top : top + crop, left : left + crop] * preprocessor.scale()
    mean, std = (torch.tensor(channels).view(3, 1, 1) for channels in preprocessor.mean_and_std())
    return ((scaled - mean) / std)[None]
