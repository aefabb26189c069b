"""Reads a checkpoint's preprocessor file: builds what the engines can do, and refuses every other value by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.errors import CheckpointError
from engines.manifest import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from export.architectures.checkpoint_files import find_preprocessor

PROCESSOR = "VJEPA2VideoProcessor"

# The fields that change pixels, with the values of ``VJEPA2VideoProcessor`` where a file has none. It takes null for
# false or fails, so null is no default.
_DEFAULTS: dict[str, Any] = {
    "crop_size": 256,
    "do_center_crop": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": IMAGENET_MEAN,
    "image_std": IMAGENET_STD,
    "resample": 2,
    "rescale_factor": 1 / 255,
    "video_processor_type": PROCESSOR,
}
# The fields that change no pixel of a clip of RGB frames: the processor ignores ``size`` and derives it from the crop,
# and a client chooses the frames of its clip.
_WITHOUT_EFFECT = {
    "size", "default_to_square", "size_divisor", "do_pad", "pad_size",
    "do_convert_rgb", "data_format", "input_data_format", "device", "disable_grouping",
    "do_sample_frames", "num_frames", "fps", "video_metadata", "return_metadata", "return_tensors",
    "model_input_names", "model_valid_processing_keys", "_valid_kwargs_names", "transformers_version",
    "processor_class", "_processor_class", "feature_extractor_type", "image_processor_type", "auto_map",
}  # fmt: skip
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Preprocessor:
    """The fields that change pixels, with defaults for those that ``path`` lacks; ``path`` is None without a file."""

    path: Path | None
    fields: dict[str, Any]

    def preprocessing(self) -> Preprocessing:
        """What the engines compute: (level / 255 - mean) / std, which covers every scale and every normalisation."""
        crop = self.crop_pixels()
        (red, green, blue), (std_red, std_green, std_blue) = (
            [channel / (255 * self.scale()) for channel in channels] for channels in self.mean_and_std()
        )
        return Preprocessing(int(crop * 256 / 224), crop, (red, green, blue), (std_red, std_green, std_blue))

    def crop_pixels(self) -> int:
        crop = self.fields["crop_size"]
        return int(crop["height"] if isinstance(crop, dict) else crop)

    def scale(self) -> float:
        """The factor of the levels before they are normalised."""
        return float(self.fields["rescale_factor"]) if self.fields["do_rescale"] else 1.0

    def mean_and_std(self) -> tuple[list[float], list[float]]:
        """Of each channel, after the levels were scaled."""
        if not self.fields["do_normalize"]:
            return [0.0] * 3, [1.0] * 3
        return _channels(self.fields["image_mean"]), _channels(self.fields["image_std"])


def read_preprocessor(path: Path, crop: int) -> Preprocessor:
    """The preprocessor of the checkpoint in ``path``, whose network takes ``crop`` x ``crop`` pixels.

    Raises:
        CheckpointError: a file is unreadable, or a field asks for something else than the engines do.
    """
    found = find_preprocessor(path)
    if found is None:
        return Preprocessor(None, _DEFAULTS | {"crop_size": crop})
    file, content = found
    given = {name: value for name, value in content.items() if value is not None}
    _check_names(file, given)
    fields = _DEFAULTS | {name: value for name, value in content.items() if name in _DEFAULTS}
    _check_values(file, fields)
    preprocessor = Preprocessor(file, fields)
    if preprocessor.crop_pixels() != crop:
        raise CheckpointError(
            f"{file}: the preprocessor crops to {preprocessor.crop_pixels()} pixels, but the model takes {crop}",
            help="make crop_size the same in both files (without crop_size, the preprocessor crops to 256)",
        )
    return preprocessor


def _check_names(file: Path, given: dict[str, Any]) -> None:
    """Raises CheckpointError when a field is unknown, or names the code of another processor."""
    unknown = sorted(given.keys() - _DEFAULTS.keys() - _WITHOUT_EFFECT)
    if unknown:
        raise CheckpointError(
            f"{file}: {PROCESSOR} has no field {', '.join(unknown)[:_SHOWN_CHARACTERS]}",
            help="remove the field if the model needs nothing of it",
        )
    image_processor = given.get("image_processor_type", "VJEPA2ImageProcessor")
    if "video_processor_type" not in given and image_processor != "VJEPA2ImageProcessor":
        raise _refused(file, "image_processor_type", image_processor, f"the video_processor_type {PROCESSOR}")
    if given.get("auto_map"):
        raise _refused(file, "auto_map", given["auto_map"], "no code beside the checkpoint")


def _check_values(file: Path, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        valid, accepted = _ACCEPTED[name]
        if not valid(value):
            raise _refused(file, name, value, accepted)


def _refused(file: Path, name: str, value: Any, accepted: str) -> CheckpointError:
    shown = json.dumps(value)
    shown = shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."
    return CheckpointError(f"{file}: {name} is {shown}, which the service cannot do", help=f"accepted: {accepted}")


def _is_crop(value: Any) -> bool:
    if isinstance(value, dict):
        return value.keys() == {"height", "width"} and value["height"] == value["width"] and _is_crop(value["height"])
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _per_channel(valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        valid(value)
        or (isinstance(value, (list, tuple)) and len(value) == 3 and all(valid(channel) for channel in value))
    )


def _channels(value: Any) -> list[float]:
    return [float(channel) for channel in (value if isinstance(value, (list, tuple)) else [value] * 3)]


def _is_boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _is_true(value: Any) -> bool:
    return value is True


# For each field that changes pixels: whether a value can be built, and what can be.
_ACCEPTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "crop_size": (_is_crop, 'a number of pixels, or a square {"height": pixels, "width": pixels}'),
    "do_center_crop": (_is_true, "true, because the network takes squares of one size"),
    "do_normalize": (_is_boolean, "true or false"),
    "do_rescale": (_is_boolean, "true or false"),
    "do_resize": (_is_true, "true, because the service takes frames of any size"),
    "image_mean": (_per_channel(_is_number), "a number, or one for each of the 3 channels"),
    "image_std": (_per_channel(_is_positive), "a positive number, or one for each of the 3 channels"),
    "resample": (lambda value: type(value) is int and value == 2, "2 (bilinear)"),
    "rescale_factor": (_is_positive, "a positive number"),
    "video_processor_type": (lambda value: value in (PROCESSOR, None), PROCESSOR),
}
